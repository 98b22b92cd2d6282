// Package config reads the configuration of a node: built-in defaults, then a
// YAML file, then WEIR_ variables of the environment, then flags; the later one
// wins. Unknown keys, wrong types and values out of range are reported all at
// once, each with where it stands.
//
// The struct Config is the only place that says which keys exist. Its field tags
// carry the key, the default, the allowed values and one sentence for a person;
// decoding, the environment names, `weir config` and docs/configuration.md are
// derived from it.
package config
