package kube

import (
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"routewatch/shared/lease"
)

const (
	// maxGap is how long there may be no watch before the Nodes count as not
	// current: the API server ends each watch after 5 to 10 minutes, and the
	// next one follows at once.
	maxGap = 10 * time.Second
	// settle is how long a watch must go on before it counts as working: by then
	// it has delivered what was missed, so that the Nodes are current without
	// an event or a bookmark.
	settle = time.Second
)

// failure is why the Nodes are not current.
type failure struct {
	verb string // what was refused: "list" or "watch"
	err  error
}

// mirror holds the Nodes as the reflector last saw them, and whether they are
// current. It is the reflector's store. Its methods may be called from any
// goroutine.
type mirror struct {
	prefix  lease.Prefix
	changed chan struct{} // has something once the view may be another

	mu      sync.Mutex
	nodes   map[string]kept
	version uint64 // grows with each change of nodes; 0: never listed
	failure failure
	opened  time.Time // of the watch that goes on; zero: none does
	listing bool      // that watch still sends the initial Nodes
	ended   time.Time // when the last watch ended, or the mirror was made
	seen    time.Time // when the Nodes were last known to be those of the server
}

var (
	_ cache.ReflectorStore    = (*mirror)(nil)
	_ cache.TransformingStore = (*mirror)(nil)
)

func newMirror(prefix lease.Prefix) *mirror {
	return &mirror{prefix: prefix, nodes: map[string]kept{}, changed: make(chan struct{}, 1), ended: time.Now()}
}

// kept is a Node in the mirror.
type kept struct {
	lease.Node
	uid types.UID
}

func (k *kept) same(other *kept) bool { return k.uid == other.uid && sameNode(&k.Node, &other.Node) }

// view is what the mirror holds at one moment.
type view struct {
	filled  bool // the Nodes were listed once
	failure failure
	seen    time.Time
	version uint64
	nodes   []lease.Node // nil if they are still those of the version that is known
}

// view returns what there is, without the Nodes of the known version.
func (m *mirror) view(now time.Time, known uint64) view {
	m.mu.Lock()
	defer m.mu.Unlock()
	if settled := m.opened.Add(settle); m.version > 0 && !m.listing && !m.opened.IsZero() && !now.Before(settled) {
		m.failure = failure{}
		if settled.After(m.seen) {
			m.seen = settled
		}
	}
	v := view{filled: m.version > 0, failure: m.failure, seen: m.seen, version: m.version}
	if v.failure.err == nil {
		v.failure = m.overdue(now)
	}
	if m.version != known {
		v.nodes = make([]lease.Node, 0, len(m.nodes))
		for _, n := range m.nodes {
			v.nodes = append(v.nodes, n.Node)
		}
	}
	return v
}

// overdue says what takes too long although nothing has failed.
func (m *mirror) overdue(now time.Time) failure {
	if now.Sub(m.ended) <= maxGap {
		return failure{}
	}
	switch {
	case m.opened.IsZero():
		return failure{"watch", errNoWatch}
	case m.listing:
		return failure{"watch", errListing}
	}
	return failure{}
}

// do changes the mirror and tells of it.
func (m *mirror) do(f func(now time.Time)) {
	m.mu.Lock()
	f(time.Now())
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// failed notes that a request or a watch failed.
func (m *mirror) failed(verb string, err error) {
	m.do(func(time.Time) { m.failure = failure{verb, err} })
}

// open notes that a watch goes on; listing, that it begins with all Nodes.
func (m *mirror) open(listing bool) {
	m.do(func(now time.Time) { m.opened, m.listing = now, listing })
}

// end notes that the watch ended.
func (m *mirror) end() {
	m.do(func(now time.Time) { m.opened, m.listing, m.ended = time.Time{}, false, now })
}

// heard notes an event of the watch. That of a Node which was not changed makes no Set.
func (m *mirror) heard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.listing {
		m.seen = time.Now()
	}
}

// Transformer implements cache.TransformingStore: the reflector applies it
// while it collects the initial Nodes, so that only their parts are in memory.
func (m *mirror) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		if n, ok := obj.(*corev1.Node); ok {
			return trim(n, m.prefix), nil
		}
		return obj, nil
	}
}

// Add implements cache.ReflectorStore.
func (m *mirror) Add(obj any) error { return m.Update(obj) }

// Update implements cache.ReflectorStore. The status of every Node changes
// every five minutes at least; what leases are made of does not.
func (m *mirror) Update(obj any) error {
	n, err := m.slim(obj)
	if err != nil {
		return err
	}
	name := n.Metadata.Name
	m.mu.Lock()
	old, ok := m.nodes[name]
	m.mu.Unlock()
	if ok && n.same(&old) {
		return nil
	}
	m.do(func(time.Time) { m.nodes[name] = n; m.version++ })
	return nil
}

// Delete implements cache.ReflectorStore.
func (m *mirror) Delete(obj any) error {
	n, err := m.slim(obj)
	if err != nil {
		return err
	}
	m.do(func(time.Time) { delete(m.nodes, n.Metadata.Name); m.version++ })
	return nil
}

// Replace implements cache.ReflectorStore: the objects are all Nodes that
// there are. The reflector calls it with a complete list only.
func (m *mirror) Replace(objects []any, _ string) error {
	nodes := make(map[string]kept, len(objects))
	for _, obj := range objects {
		n, err := m.slim(obj)
		if err != nil {
			return err
		}
		nodes[n.Metadata.Name] = n
	}
	m.do(func(now time.Time) {
		if m.version == 0 || !maps.EqualFunc(m.nodes, nodes, func(a, b kept) bool { return a.same(&b) }) {
			m.nodes = nodes
			m.version++
		}
		m.seen, m.listing = now, false
	})
	return nil
}

// Resync implements cache.ReflectorStore. There is nothing to repeat.
func (m *mirror) Resync() error { return nil }

func (m *mirror) slim(obj any) (kept, error) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return kept{}, fmt.Errorf("the API server sent a %T, not a Node", obj)
	}
	return kept{slim(n, m.prefix), n.UID}, nil
}
