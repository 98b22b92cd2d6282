// Package bench measures Weir from outside: it generates the workloads of
// docs/benchmarks.md, feeds them to a node as a broker would or publishes them
// to any broker, watches the node's process, and prints a report. Speeds are
// quoted as measured in one run beside a baseline measured in the same run,
// because machines are shared and noisy.
package bench
