package history

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// state is what the records say, one after the other.
type state struct {
	events    []wire.Event
	open      map[string]wire.Incident
	members   map[string]map[netip.Prefix]bool // of the open ones
	problems  []wire.NodeProblem               // that are not gone
	last      uint64                           // id of the last event
	incidents uint64                           // number of the last incident
}

func newState() *state {
	return &state{open: map[string]wire.Incident{}, members: map[string]map[netip.Prefix]bool{}}
}

func (s *state) apply(r record) {
	switch {
	case r.Event != nil:
		s.event(*r.Event)
	case r.Incident != nil:
		s.opened(*r.Incident)
	case r.NodeProblem != nil:
		s.problems = append(s.problems, *r.NodeProblem)
	case r.Members != nil:
		for _, p := range r.Members.Leases {
			s.join(r.Members.Incident, p)
		}
	}
}

func (s *state) event(e wire.Event) {
	s.events = append(s.events, e)
	if len(s.events) > 2*maxEvents {
		s.events = slices.Delete(s.events, 0, maxEvents)
	}
	s.last = max(s.last, e.ID)
	switch {
	case e.Incident != nil && e.Type == verdict.IncidentClosed:
		s.number(e.Incident.ID)
		delete(s.open, e.Incident.ID)
		delete(s.members, e.Incident.ID)
	case e.Incident != nil:
		s.opened(*e.Incident)
	case e.NodeProblem != nil:
		s.problems = slices.DeleteFunc(s.problems, func(p wire.NodeProblem) bool {
			return p.Problem == e.NodeProblem.Problem && p.Family == e.NodeProblem.Family && p.Device == e.NodeProblem.Device
		})
		if e.Type == verdict.NodeProblemAppeared {
			s.problems = append(s.problems, *e.NodeProblem)
		}
	}
}

func (s *state) opened(i wire.Incident) {
	s.number(i.ID)
	s.open[i.ID] = i
	for _, p := range i.Subnets {
		s.join(i.ID, p)
	}
}

// join may come before the incident itself: members are written first, so that
// an incident whose record is there is there with all of them.
func (s *state) join(id string, lease netip.Prefix) {
	if s.members[id] == nil {
		s.members[id] = map[netip.Prefix]bool{}
	}
	s.members[id][lease] = true
}

// number keeps the highest number of an incident: an id ends in it.
func (s *state) number(id string) {
	if n, err := strconv.ParseUint(id[strings.LastIndexByte(id, '-')+1:], 10, 64); err == nil {
		s.incidents = max(s.incidents, n)
	}
}

// forget drops the members of incidents whose own records are lost.
func (s *state) forget() {
	maps.DeleteFunc(s.members, func(id string, _ map[netip.Prefix]bool) bool {
		_, open := s.open[id]
		return !open
	})
}

// missing lists the leases that belong to an incident and are not among its
// members yet.
func (s *state) missing(snapshot *wire.Snapshot) []members {
	fresh := map[string][]netip.Prefix{}
	for _, l := range snapshot.Leases {
		if l.Incident != "" && !s.members[l.Incident][l.Lease] {
			fresh[l.Incident] = append(fresh[l.Incident], l.Lease)
		}
	}
	var all []members
	for _, id := range slices.Sorted(maps.Keys(fresh)) {
		all = append(all, members{id, fresh[id]})
	}
	return all
}

// snapshot is what the judge goes on from.
func (s *state) snapshot() *wire.Snapshot {
	r := &wire.Snapshot{IncidentSeq: s.incidents, KnownNodeProblems: slices.Clone(s.problems), Awaited: map[netip.Prefix]string{}}
	for _, id := range slices.Sorted(maps.Keys(s.open)) {
		r.Incidents = append(r.Incidents, s.open[id])
		for lease := range s.members[id] {
			r.Awaited[lease] = id
		}
	}
	return r
}

// lines is a new file that says the same in at most size bytes: what is open,
// in half of them at most, and the newest events.
func (s *state) lines(size int64) []byte {
	file := encode(record{Header: &header{version}})
	open := func(r record) {
		if line := encode(r); int64(len(file)+len(line)) <= size/2 {
			file = append(file, line...)
		}
	}
	for _, p := range s.problems {
		open(record{NodeProblem: &p})
	}
	for _, id := range slices.Sorted(maps.Keys(s.open)) {
		i := s.open[id]
		open(record{Incident: &i})
	}
	for _, id := range slices.Sorted(maps.Keys(s.members)) {
		all := slices.SortedFunc(maps.Keys(s.members[id]), netip.Prefix.Compare)
		for part := range slices.Chunk(all, membersInLine) {
			open(record{Members: &members{id, part}})
		}
	}
	var newest [][]byte
	total := int64(len(file))
	for _, e := range slices.Backward(s.events) {
		line := encode(record{Event: &e})
		if total += int64(len(line)); total > size {
			break
		}
		newest = append(newest, line)
	}
	for _, line := range slices.Backward(newest) {
		file = append(file, line...)
	}
	return file
}
