package mqtt

import (
	"errors"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// maxAliasBytes bounds the memory of topics that the broker may make us keep.
const maxAliasBytes = 8 << 20

// errAliasBytes ends a connection whose aliases take more; the next one offers
// none.
var errAliasBytes = errors.New("the broker's topic aliases take more than 8 MiB")

// aliasTable holds the topics that stand behind aliases of one connection
// (3.3.2.3.4).
type aliasTable struct {
	topics [][]byte // index alias-1; grown as aliases are used
	max    int
	bytes  int
}

func (t *aliasTable) init(limit int) { t.max = limit }

// resolve sets the alias if the packet names a topic, else takes it from there.
func (t *aliasTable) resolve(p *wire.Publish) error {
	i := int(p.Alias) - 1
	if i >= t.max {
		return wire.ErrTopicAliasMaximum
	}
	if len(p.Topic) == 0 {
		if i >= len(t.topics) || t.topics[i] == nil {
			return wire.ErrTopicAliasUnknown
		}
		p.Topic = t.topics[i]
		return nil
	}
	for i >= len(t.topics) {
		t.topics = append(t.topics, nil)
	}
	t.bytes += len(p.Topic) - len(t.topics[i])
	if t.bytes > maxAliasBytes {
		return errAliasBytes
	}
	t.topics[i] = append(t.topics[i][:0], p.Topic...)
	return nil
}
