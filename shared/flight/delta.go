package flight

import (
	"errors"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// edit is a part of a list that was made of the one before it: N of its items
// from From on, then new ones.
type edit[T any] struct {
	From, N int
	New     []T
}

// diff says how to make a list of the one before it; nil: it is the same. What
// both begin and end with is found by comparing, items that moved by looking
// them up, so that it takes linear time.
func diff[T comparable](was, is []T) []edit[T] {
	if len(was) == len(is) && (len(is) == 0 || &was[0] == &is[0]) {
		return nil // Sets and States share what did not change
	}
	return diffRefs(netstate.Refs(was), netstate.Refs(is))
}

func diffRefs[T comparable](was, is []*T) []edit[T] {
	same := func(a, b *T) bool { return a == b || *a == *b }
	head, tail := 0, 0
	for head < len(was) && head < len(is) && same(was[head], is[head]) {
		head++
	}
	if head == len(was) && head == len(is) {
		return nil
	}
	for tail < len(was)-head && tail < len(is)-head && same(was[len(was)-1-tail], is[len(is)-1-tail]) {
		tail++
	}
	places := make(map[T]int, len(was)-head-tail)
	for i := head; i < len(was)-tail; i++ {
		places[*was[i]] = i
	}
	edits := []edit[T]{{N: head}}
	for _, item := range is[head : len(is)-tail] {
		last := &edits[len(edits)-1]
		if end := last.From + last.N; len(last.New) == 0 && end < len(was) && same(was[end], item) {
			last.N++
		} else if at, ok := places[*item]; ok {
			edits = append(edits, edit[T]{From: at, N: 1})
		} else {
			last.New = append(last.New, *item)
		}
	}
	if tail > 0 {
		edits = append(edits, edit[T]{From: len(was) - tail, N: tail})
	}
	return edits
}

var errEdit = errors.New("expected changes of the record before it, found such of another one")

// patch makes the list that diff was given.
func patch[T any](was []T, edits []edit[T]) ([]T, error) {
	return patchBy(was, edits, func(fresh []T) []T { return fresh })
}

func patchRefs[T any](was []*T, edits []edit[T]) ([]*T, error) {
	return patchBy(was, edits, netstate.Refs[T])
}

// patchBy is patch for a list of other items than those of the edits.
func patchBy[E, T any](was []E, edits []edit[T], items func([]T) []E) ([]E, error) {
	if edits == nil {
		return was, nil
	}
	var is []E
	for _, e := range edits {
		if e.From < 0 || e.N < 0 || e.From > len(was) || e.N > len(was)-e.From || len(is)+e.N+len(e.New) > maxItems {
			return nil, errEdit
		}
		is = append(append(is, was[e.From:e.From+e.N]...), items(e.New)...)
	}
	return is, nil
}

// setDelta is a Set as what is different from the one before it: its long lists
// as edits, and all else, also what is not known here yet, as it is.
type setDelta struct {
	Rest    lease.Set
	Leases  []edit[lease.Lease]
	Skipped []edit[lease.Skipped]
}

func diffSet(was, is *lease.Set) *setDelta {
	if was == nil {
		was = &lease.Set{}
	}
	d := &setDelta{Rest: *is, Leases: diff(was.Leases, is.Leases), Skipped: diff(was.Skipped, is.Skipped)}
	d.Rest.Leases, d.Rest.Skipped = nil, nil
	return d
}

func (d *setDelta) patch(was *lease.Set) (*lease.Set, error) {
	if was == nil {
		was = &lease.Set{}
	}
	var errs [2]error
	is := d.Rest
	is.Leases, errs[0] = patch(was.Leases, d.Leases)
	is.Skipped, errs[1] = patch(was.Skipped, d.Skipped)
	return &is, errors.Join(errs[:]...)
}

// stateDelta is a State in the same way.
type stateDelta struct {
	Rest      netstate.State
	Links     []edit[netstate.Link]
	Addrs     []edit[netstate.Addr]
	Rules     []edit[netstate.Rule]
	Routes    []edit[netstate.Route]
	Neighbors []edit[netstate.Neighbor]
	FDB       []edit[netstate.FDBEntry]
	Lookups   []edit[netstate.Lookup]
	NetConf   []edit[netstate.NetConf]
	// TouchedNone tells a Touched that is empty from one that is nil: gob does not.
	TouchedNone bool
}

func diffState(was, is *netstate.State) *stateDelta {
	if was == nil {
		was = &netstate.State{}
	}
	d := &stateDelta{
		Rest:  *is,
		Links: diff(was.Links, is.Links), Addrs: diff(was.Addrs, is.Addrs), Rules: diff(was.Rules, is.Rules),
		Routes: diffRefs(was.Routes, is.Routes), Neighbors: diff(was.Neighbors, is.Neighbors), FDB: diff(was.FDB, is.FDB),
		Lookups: diffRefs(was.Lookups, is.Lookups), NetConf: diff(was.NetConf, is.NetConf),
		TouchedNone: none(is.Touched),
	}
	r := &d.Rest
	r.Links, r.Addrs, r.Rules, r.Routes, r.Neighbors, r.FDB, r.Lookups, r.NetConf = nil, nil, nil, nil, nil, nil, nil, nil
	return d
}

func (d *stateDelta) patch(was *netstate.State) (*netstate.State, error) {
	if was == nil {
		was = &netstate.State{}
	}
	var errs [8]error
	is := d.Rest
	is.Links, errs[0] = patch(was.Links, d.Links)
	is.Addrs, errs[1] = patch(was.Addrs, d.Addrs)
	is.Rules, errs[2] = patch(was.Rules, d.Rules)
	is.Routes, errs[3] = patchRefs(was.Routes, d.Routes)
	is.Neighbors, errs[4] = patch(was.Neighbors, d.Neighbors)
	is.FDB, errs[5] = patch(was.FDB, d.FDB)
	is.Lookups, errs[6] = patchRefs(was.Lookups, d.Lookups)
	is.NetConf, errs[7] = patch(was.NetConf, d.NetConf)
	is.Touched = some(is.Touched, d.TouchedNone)
	return &is, errors.Join(errs[:]...)
}

// none reports whether a list is empty and not nil, and some makes it so again.
func none[T any](list []T) bool { return list != nil && len(list) == 0 }

func some[T any](list []T, none bool) []T {
	if none {
		return []T{}
	}
	return list
}
