// Package schema turns a schema document into a compiled plan that parses,
// checks and extracts a payload in one pass over its bytes, without allocation.
//
// A document (YAML or JSON) names a table, the topics it is for, and a JSON
// Schema 2020-12 for the payload. Compile reports every error of a document at
// once, with its line and column. Plans of one directory form a Set, which finds
// the plans of a topic; a Registry keeps the Set in step with the directory; a
// Checker runs a plan over a payload.
//
// Keywords of JSON Schema that the one-pass plan does not know send the schema,
// not the message, to the full library. Both give the same verdict on every
// input; a differential test holds that.
//
// docs/schemas.md describes the document for its authors.
package schema
