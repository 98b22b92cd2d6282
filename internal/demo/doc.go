// Package demo simulates a small fleet of devices that publish over real MQTT:
// climate sensors, machines that send bare numbers and words, and energy meters
// with three readings in a message. About one message in a hundred is wrong, so
// that quarantine has something to show.
//
// What a device says depends only on the seed, the device and the second of the
// clock. A fleet that is started again therefore repeats itself rather than
// contradicting itself, and the node finds the repetition.
package demo
