// Package e2e runs the real binary as its users do, and breaks it: whole nodes
// with real MQTT clients and brokers, killed, starved of disk space, misconfigured.
package e2e
