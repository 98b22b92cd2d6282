package control

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Cards is what weir import asks of a node for the card of a recorder.
type Cards interface {
	// ImportCard stores what the node does not have yet, and returns when it is durable.
	ImportCard(ctx context.Context, part *CardPart) (*CardStored, error)
}

// CardPart is some records of one epoch of one device, with what is needed to
// understand them.
type CardPart struct {
	Device  string       `json:"device"`
	Epoch   uint64       `json:"epoch,string"`
	Plans   [][]byte     `json:"plans,omitempty"`
	Times   [][]byte     `json:"times,omitempty"`
	Records []CardRecord `json:"records"`
}

// CardRecord is one record of a card.
type CardRecord struct {
	Sequence uint64 `json:"s"`
	Uptime   uint64 `json:"u"` // ms
	Kind     byte   `json:"k"`
	Body     []byte `json:"b"`
}

// CardStored is what became of a part.
type CardStored struct {
	Stored    int `json:"stored"`
	Duplicate int `json:"duplicate"`
	Refused   int `json:"refused"`
	Waiting   int `json:"waiting"`
}

func handleCards(mux *http.ServeMux, b Cards) {
	mux.HandleFunc("POST /v1/card", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(ctx context.Context) (*CardStored, error) {
			data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxImport))
			if err != nil {
				return nil, telemetry.Errorf(telemetry.CodeInvalid, "read the request", "%v", err)
			}
			var part CardPart
			if err := json.Unmarshal(data, &part); err != nil {
				return nil, telemetry.Errorf(telemetry.CodeInvalid, "read the request", "%v", err)
			}
			return b.ImportCard(ctx, &part)
		})
	})
}

var _ Cards = (*Client)(nil)

// ImportCard implements Cards.
func (c *Client) ImportCard(ctx context.Context, part *CardPart) (*CardStored, error) {
	return do[CardStored](ctx, c, http.MethodPost, "/v1/card", part)
}
