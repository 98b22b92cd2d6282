// Package seal encrypts what a node keeps on disk. A master key, which a person
// keeps elsewhere, wraps data keys; data keys seal what is written, with
// AES-256-GCM. The wrapped keys are the key ring, a file of the data directory;
// docs/format/sealing.md describes it, and what is sealed how.
//
// Each tenant has data keys of its own, so that destroying them makes what is
// left of the tenant unreadable. A data key is used for a period and for a
// bounded number of seals, then a fresh one takes its place; old ones stay for
// reading.
package seal
