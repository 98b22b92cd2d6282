// Package pipeline takes messages from sources to the store: it finds the schema
// and the series of a topic, checks the payload, gathers rows into batches, makes
// them durable, and acknowledges.
//
// # Lanes
//
// A session of a source is pinned to one lane, and a lane is locked for a burst:
// all that one read of a socket brought. So sources that run at the same time do
// not meet, messages of a session keep their order, and a message costs no
// synchronisation. A lane has a cache from topic to route and series that holds
// no pointers, a checker, and the batch that it fills.
//
// # Commits
//
// One loop swaps the batches of all lanes for empty ones, stages them in the
// store, and hands them to a second goroutine that makes them durable, so that a
// batch is encoded while the one before it is written. Then each session hears the
// highest token that is safe. Starts are at least Config.CommitInterval apart;
// when nothing arrives nothing wakes up.
//
// # What the pipeline promises
//
// A token is handed to an Acker only after everything that its session added up
// to there is durable, or was decided to need no storing. Every message ends in
// exactly one counter: received = stored + duplicate + quarantined + dropped +
// unmatched + in flight, at any time, for every source.
//
// The bytes of all batches, filling and on their way, are bounded by
// Config.BufferBytes (one message for each lane may stand over it). When they are
// spent Session.Begin waits, first come, first served, and so the socket is not
// read.
//
// A commit that the store refuses is taken apart until the rows at fault are
// alone; they are quarantined in the words of Refused, and their neighbours are
// stored. Any other error of the store is retried without end, because nothing
// that was not acknowledged is lost by waiting.
//
// # Redelivery
//
// Where the payload carries its time the store finds what it has. Elsewhere the
// session's ledger decides by packet id: see ledger.
package pipeline
