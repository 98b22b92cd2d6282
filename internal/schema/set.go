package schema

// Set is an immutable set of active plans. It is safe for concurrent use.
type Set struct {
	generation uint64
	plans      []*Plan
	filters    []string
}

// Route is the list of plans that a topic may belong to, the newest version of
// a name first. One candidate list is one pointer, so routes may be compared.
type Route struct {
	Plans []*Plan
}

// NewSet makes a set of the plans. Plans of different names whose topics overlap
// and whose `when` does not part them are problems.
func NewSet(plans []*Plan) (*Set, Problems) { return &Set{plans: plans}, nil }

// Generation grows with every set that is made in this process.
func (s *Set) Generation() uint64 { return s.generation }

// Plans are the active plans by name and version ascending.
func (s *Set) Plans() []*Plan { return s.plans }

// Filters are MQTT topic filters that cover all plans; none covers another.
func (s *Set) Filters() []string { return s.filters }

// Route returns the candidates of a topic, or nil where none matches.
func (s *Set) Route(topic []byte) *Route { return nil }
