package pipeline

import (
	"cmp"
	"slices"
)

// UnmatchedTopic is a topic that no schema matches.
type UnmatchedTopic struct {
	Topic string
	// Count is at most how many of its messages came; at least Count-Error did,
	// because the topic may have been left out of the list for a time.
	Count uint64
	Error uint64
	Last  int64 // when the last came, ns UTC
}

// unmatched lists the most frequent unmatched topics in bounded memory, by the
// Space-Saving algorithm (Metwally, Agrawal, El Abbadi 2005): a topic that is not
// listed takes the place of the rarest and inherits its count.
type unmatched struct {
	limit int
	at    map[string]int
	list  []UnmatchedTopic
}

func (u *unmatched) add(topic []byte, now int64) {
	if i, ok := u.at[string(topic)]; ok {
		u.list[i].Count++
		u.list[i].Last = now
		return
	}
	if u.at == nil {
		u.at = map[string]int{}
	}
	if len(u.list) < u.limit {
		t := string(topic)
		u.at[t] = len(u.list)
		u.list = append(u.list, UnmatchedTopic{Topic: t, Count: 1, Last: now})
		return
	}
	least := 0
	for i := range u.list {
		if u.list[i].Count < u.list[least].Count {
			least = i
		}
	}
	old := &u.list[least]
	delete(u.at, old.Topic)
	t := string(topic)
	u.at[t] = least
	*old = UnmatchedTopic{Topic: t, Count: old.Count + 1, Error: old.Count, Last: now}
}

// Unmatched lists the topics that no schema matches, the most frequent first.
func (p *Pipeline) Unmatched() []UnmatchedTopic {
	var all []UnmatchedTopic
	at := map[string]int{}
	for _, l := range p.lanes {
		l.mu.Lock()
		for _, t := range l.unmatched.list {
			if i, ok := at[t.Topic]; ok {
				all[i].Count += t.Count
				all[i].Error += t.Error
				all[i].Last = max(all[i].Last, t.Last)
				continue
			}
			at[t.Topic] = len(all)
			all = append(all, t)
		}
		l.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b UnmatchedTopic) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(b.Last, a.Last), cmp.Compare(a.Topic, b.Topic))
	})
	return all[:min(len(all), p.cfg.UnmatchedTopics)]
}

func sortSources(s []SourceStats) {
	slices.SortFunc(s, func(a, b SourceStats) int { return cmp.Compare(a.Source, b.Source) })
}
