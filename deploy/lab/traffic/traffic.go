//go:build linux

// Package traffic tells what really becomes of a packet from a pod to a pod of
// another node: it sends an echo request with a token of its own, and captures
// in every namespace of the lab at once.
package traffic

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// Node is a node whose traffic is captured.
type Node struct {
	Name    string
	NS, Pod *netns.NS
	Pods    map[netstate.Family]netip.Addr // addresses of the pod
}

// Path is the way that a packet took.
type Path string

// The paths, the one that says most first: what another node passes on may
// arrive as well, but not by flannel's path.
const (
	Leaked    Path = "leaked"    // the default gateway got it
	Elsewhere Path = "elsewhere" // another node got it, or it left by a device that is not on flannel's path
	Arrived   Path = "arrived"   // the other pod got it
	Reached   Path = "reached"   // the other node got it by flannel's path, its pod did not
	Local     Path = "local"     // the node that sent it answered it
	Nowhere   Path = "nowhere"   // none of that
)

// Fate is what became of a packet.
type Fate struct {
	From, To string
	Family   netstate.Family
	Path     Path
	Reached  bool       // the other node got it by flannel's path, whatever became of it then
	Pong     bool       // the answer came back
	Seen     []Sighting // in the order of capture
}

// Delivers reports whether the other node got it by flannel's path.
func (f Fate) Delivers() bool { return f.Path == Arrived || f.Path == Reached }

// String is one line for a person.
func (f Fate) String() string {
	pong := ""
	if f.Path == Arrived && !f.Pong {
		pong = ", no answer"
	}
	return string(f.Path) + pong
}

const (
	resendInterval = 20 * time.Millisecond
	// patience is how long a packet may take to be seen where it ends.
	patience = 400 * time.Millisecond
	// settle is how long more is waited for after a packet was seen where it
	// may end: for the answer, and for a copy that goes further.
	settle = 80 * time.Millisecond
	// drain is how long more after the answer: what was captured on the way may
	// be read a little later.
	drain = 5 * time.Millisecond
)

// Watch captures and sends. Its methods may be called from any goroutine.
type Watch struct {
	gateway *capture

	mu      sync.Mutex
	nodes   map[string]*node
	pending map[token]chan Sighting
}

type node struct {
	Node
	captures []*capture
	senders  map[netstate.Family]*sender
}

// New starts to capture at the default gateway; Add adds nodes.
func New(gateway *netns.NS) (*Watch, error) {
	w := &Watch{nodes: map[string]*node{}, pending: map[token]chan Sighting{}}
	var err error
	w.gateway, err = newCapture(gateway, placeGateway, w.deliver)
	return w, err
}

// Add starts to capture on a node and its pod.
func (w *Watch) Add(n Node) error {
	added := &node{Node: n, senders: map[netstate.Family]*sender{}}
	err := added.open(w.deliver)
	if err != nil {
		added.close()
		return fmt.Errorf("capture on %s: %w", n.Name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[n.Name] = added
	return nil
}

func (n *node) open(deliver func(token, Sighting)) error {
	for where, ns := range map[string]*netns.NS{n.Name: n.NS, placePod + n.Name: n.Pod} {
		c, err := newCapture(ns, where, deliver)
		if err != nil {
			return err
		}
		n.captures = append(n.captures, c)
	}
	for family, addr := range n.Pods {
		s, err := newSender(n.Pod, addr)
		if err != nil {
			return err
		}
		n.senders[family] = s
	}
	return nil
}

func (n *node) close() {
	for _, c := range n.captures {
		c.close()
	}
	for _, s := range n.senders {
		s.close()
	}
}

// Close ends all captures.
func (w *Watch) Close() {
	w.mu.Lock()
	nodes := w.nodes
	w.nodes = map[string]*node{}
	w.mu.Unlock()
	for _, n := range nodes {
		n.close()
	}
	w.gateway.close()
}

// deliver hands a sighting to whoever sent the token. Nobody waits for it for
// long: a full channel has seen enough.
func (w *Watch) deliver(t token, s Sighting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.pending[t] <- s:
	default:
	}
}

// token is in the payload of each packet of one Send.
type token [8]byte

// magic stands before each token.
var magic = []byte("routewatch lab ")

func tokenIn(packet []byte) (t token, ok bool) {
	i := bytes.Index(packet, magic)
	if i < 0 || len(packet) < i+len(magic)+len(t) {
		return t, false
	}
	copy(t[:], packet[i+len(magic):])
	return t, true
}

// VTEP is what a node published of its tunnel end; zero where its backend has none.
type VTEP struct {
	MAC netstate.MAC
	VNI uint32
}

// Send sends a packet from the pod of one node to that of another, again and
// again since any may be lost, until it is clear what becomes of it. vtep is
// the other node's: what comes to it has reached the node, also if the node
// itself does not take it then.
func (w *Watch) Send(ctx context.Context, from, to string, f netstate.Family, vtep VTEP) (Fate, error) {
	w.mu.Lock()
	source, target := w.nodes[from], w.nodes[to]
	var t token
	_, _ = rand.Read(t[:]) // never fails
	seen := make(chan Sighting, 1024)
	w.pending[t] = seen
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.pending, t)
		w.mu.Unlock()
	}()
	if source == nil || target == nil || source.senders[f] == nil || !target.Pods[f].IsValid() {
		return Fate{}, fmt.Errorf("there is no pod of %s on %s or on %s", f, from, to)
	}
	tr := trial{fate: Fate{From: from, To: to, Family: f}, vtep: vtep}
	send := func() error { return source.senders[f].send(target.Pods[f], t) }
	return tr.run(ctx, send, seen)
}

// trial is one Send.
type trial struct {
	fate Fate
	vtep VTEP
	ends map[Path]bool // where it was seen
}

func (t *trial) run(ctx context.Context, send func() error, seen <-chan Sighting) (Fate, error) {
	t.ends = map[Path]bool{}
	end := time.NewTimer(patience)
	defer end.Stop()
	again := time.NewTicker(resendInterval)
	defer again.Stop()
	// The pod's own stack may refuse: then the packet is nowhere, as it would
	// be for the pod.
	lost := send()
	for {
		select {
		case s := <-seen:
			if t.take(s) {
				end.Reset(settle)
			}
			if t.fate.Pong && t.ends[Arrived] {
				end.Reset(drain)
			}
		case <-again.C:
			lost = send()
		case <-end.C:
			if lost != nil && len(t.fate.Seen) == 0 {
				return t.fate, fmt.Errorf("send from the pod of %s: %w", t.fate.From, lost)
			}
			return t.conclude(), nil
		case <-ctx.Done():
			return t.conclude(), errors.Join(ctx.Err(), lost)
		}
	}
}

// maxSeen bounds the sightings that are kept for a person.
const maxSeen = 40

// take adds a sighting; it reports whether it is the first that says where the
// packet ends.
func (t *trial) take(s Sighting) bool {
	if len(t.fate.Seen) < maxSeen {
		t.fate.Seen = append(t.fate.Seen, s)
	}
	if !s.Request {
		if s.Where == placePod+t.fate.From && s.Kind == host {
			t.fate.Pong = true
		}
		return false
	}
	path := t.end(s)
	if path == "" || t.ends[path] {
		return false
	}
	t.ends[path] = true
	return true
}

// end says where a request ends that was seen like this; "" if that does not tell.
func (t *trial) end(s Sighting) Path {
	switch {
	case s.Encapsulated:
		mine := s.Where == t.fate.To && s.Device == underlay && s.Kind == host
		return toPath(mine && s.InnerMAC == t.vtep.MAC && s.VNI == t.vtep.VNI, Reached)
	case s.Where == placePod+t.fate.To:
		return toPath(s.Kind == host, Arrived)
	case s.Where == placeGateway:
		return toPath(s.Kind == host, Leaked)
	case s.Where == placePod+t.fate.From:
		return ""
	case s.Where == t.fate.To:
		return toPath(s.Kind == host && (isFlannel(s.Device) || s.Device == underlay), Reached)
	case s.Where == t.fate.From:
		odd := !isFlannel(s.Device) && s.Device != underlay && !isPods(s.Device)
		return toPath(s.Kind == outgoing && odd, Elsewhere)
	}
	return toPath(s.Kind == host, Elsewhere) // another node
}

func toPath(is bool, p Path) Path {
	if is {
		return p
	}
	return ""
}

// conclude names the path that says most.
func (t *trial) conclude() Fate {
	t.fate.Path = Nowhere
	if t.fate.Pong && len(t.ends) == 0 {
		t.fate.Path = Local
	}
	for _, p := range []Path{Reached, Arrived, Elsewhere, Leaked} {
		if t.ends[p] {
			t.fate.Path = p
		}
	}
	t.fate.Reached = t.ends[Reached] || t.ends[Arrived]
	t.fate.Pong = t.fate.Pong && t.ends[Arrived]
	return t.fate
}
