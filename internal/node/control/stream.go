package control

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// streamItem is one line of an answer that comes in pieces: a piece, how far the
// work is, the error that ended it, or the end.
type streamItem[T any] struct {
	Item  *T         `json:"item,omitempty"`
	Done  int64      `json:"done,omitempty"`
	Total int64      `json:"total,omitempty"`
	Error *wireError `json:"error,omitempty"`
	End   bool       `json:"end,omitempty"`
}

// progressEvery is how often progress is told.
const progressEvery = 100 * time.Millisecond

// stream answers with pieces and progress while f works.
func stream[T any](w http.ResponseWriter, r *http.Request, f func(ctx context.Context, item func(T), progress func(done, total int64)) error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	send := func(i streamItem[T]) {
		if enc.Encode(i) != nil || http.NewResponseController(w).Flush() != nil {
			cancel() // the client is gone
		}
	}
	var last time.Time
	err := f(ctx, func(t T) { send(streamItem[T]{Item: &t}) }, func(done, total int64) {
		if time.Since(last) >= progressEvery {
			last = time.Now()
			send(streamItem[T]{Done: done, Total: total})
		}
	})
	if err != nil {
		send(streamItem[T]{Error: toWire(err)})
		return
	}
	send(streamItem[T]{End: true})
}

// receive reads what stream sends.
func receive[T any](ctx context.Context, c *Client, path string, body any, item func(T), progress func(done, total int64)) error {
	resp, err := c.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var i streamItem[T]
		switch err := d.Decode(&i); {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return lost(err)
		case i.Error != nil:
			return i.Error.err()
		case i.End:
			return nil
		case i.Item != nil:
			item(*i.Item)
		case progress != nil:
			progress(i.Done, i.Total)
		}
	}
}
