// Package rollup computes the aggregates of readings over buckets of time:
// count, minimum, maximum, sum, first, last and a quantile sketch for each
// series, bucket and column. What is computed from parts of the readings merges
// to what the whole gives.
//
// The form in which they are kept is docs/format/rollup.md.
package rollup
