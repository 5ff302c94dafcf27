package kernel

import (
	"slices"

	"routewatch/shared/netstate"
)

// hintsKept bounds the oldest, the newest, and the telling hints of one State.
const hintsKept = 1024

// hintLog is a bounded list of hints. When it overflows, the hints about routes,
// neighbors and FDB entries between the oldest and the newest go first: a flap of
// one device drops thousands of them, and the few link hints among them tell why.
type hintLog []netstate.Hint

func (l *hintLog) add(hints ...netstate.Hint) {
	*l = append(*l, hints...)
	if len(*l) > 4*hintsKept { // not at each hint: trimming is linear
		l.trim()
	}
}

func (l *hintLog) trim() {
	i, newest := -1, len(*l)-hintsKept
	*l = slices.DeleteFunc(*l, func(h netstate.Hint) bool {
		i++
		return i >= hintsKept && i < newest && touches(h.Kind)
	})
	if excess := len(*l) - 3*hintsKept; excess > 0 {
		*l = slices.Delete(*l, hintsKept, hintsKept+excess)
	}
}

// touches reports whether a hint is about a single object, so that only what it
// touches need be read again.
func touches(k netstate.HintKind) bool {
	switch k {
	case netstate.RouteAdded, netstate.RouteReplaced, netstate.RouteDeleted,
		netstate.NeighborChanged, netstate.NeighborDeleted, netstate.FDBChanged, netstate.FDBDeleted:
		return true
	}
	return false
}
