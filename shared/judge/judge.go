// Package judge decides: it holds the chains that the leases need beside what
// the kernel said, and folds the result into the next wire.Snapshot. It is
// pure: the same previous snapshot and input give the same next one.
package judge

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// Options do not change while a daemon runs.
type Options struct {
	Node string
	// Grace is how long flannel may take to program a new or changed lease, and
	// how long an unexplained object may stay before it is called stale.
	Grace time.Duration
	// MaxSilence is how old the leases or the kernel picture may be: both are
	// sent again and again, so one that is older says nothing about now. 0: any age.
	MaxSilence time.Duration
	Flannel    expect.Config
	// ShowLeases is the command that prints what every node claims.
	ShowLeases mend.Advice
}

// Input is all that Next looks at.
type Input struct {
	Set   *lease.Set      // nil: never read
	State *netstate.State // nil: never read
	// Touched are the subnets whose evidence may have changed since previous;
	// nil means all. Every other lease is copied from previous.
	Touched []netip.Prefix
	Now     time.Time
}

// Next folds an input into the next snapshot. previous is nil at the start. The
// returned time is when Next wants to be called again although nothing
// happened, because a grace ends then; zero if none does.
func Next(opts Options, previous *wire.Snapshot, in Input) (*wire.Snapshot, time.Time) {
	return New(opts).Next(previous, in)
}

// Judge folds one input after the other. It gives what Next gives, and remembers
// what it made the last snapshot of, so that the next one costs what changed.
type Judge struct {
	opts Options
	last *wire.Snapshot // what mem belongs to
	mem  memory
}

// New returns a Judge. It must not be used by two goroutines at a time.
func New(opts Options) *Judge { return &Judge{opts: opts} }

// Next is the function Next. It is fast where previous is what it returned last,
// the leases are the same, few of them are touched, and the kernel's picture
// shares with the one before it what did not change.
func (j *Judge) Next(previous *wire.Snapshot, in Input) (*wire.Snapshot, time.Time) {
	if previous == nil {
		previous = &wire.Snapshot{}
	}
	if previous != j.last {
		j.mem = memory{}
	}
	f := fold{opts: j.opts, prev: previous, in: in, set: in.Set, state: in.State, mem: &j.mem}
	if f.set == nil {
		f.set = &lease.Set{}
	}
	if f.state == nil {
		f.state = &netstate.State{}
	}
	f.fold()
	j.last = f.next
	return f.next, f.wake
}

// fold is one call of Next.
type fold struct {
	opts  Options
	prev  *wire.Snapshot
	next  *wire.Snapshot
	in    Input
	set   *lease.Set
	state *netstate.State
	mem   *memory
	view  view
	chain expect.Chain // of the lease that is judged
	wake  time.Time
	// aligned: the previous snapshot has the same leases at the same positions.
	aligned bool
	judged  []int // the positions of the leases that were judged, if not all were
	all     bool
}

func (f *fold) fold() {
	f.doubtSilence()
	believed := slices.ContainsFunc(f.prev.Sources, func(s wire.Source) bool { return s.Name == kernelSource && s.Complete })
	if believed != f.state.Complete {
		f.in.Touched = nil // what is as it was in the picture before says nothing, if only one of the two can be believed
	}
	f.opts.Flannel.Backend = f.backend()
	last := f.mem.index
	f.mem.index = indexOf(f.set, last)
	f.aligned = last == f.mem.index
	f.view = newView(f.opts.Flannel, f.set, f.state, f.mem.index.vnis)
	f.next = &wire.Snapshot{
		Node:           f.opts.Node,
		Time:           f.in.Now,
		LeasesRead:     f.prev.LeasesRead || f.set.Generation > 0,
		KernelRead:     f.prev.KernelRead || f.state.Complete && f.state.Generation > 0,
		OwnLeaseKnown:  f.view.ownKnown,
		Backend:        f.opts.Flannel.Backend,
		VNI:            f.view.vni(),
		Families:       f.families(),
		IncidentsTotal: f.prev.IncidentsTotal,
		IncidentSeq:    f.prev.IncidentSeq,
		Counters:       f.state.Counters,
		Generation:     f.set.Generation,
		Triggered:      f.state.Triggered,
	}
	if !f.next.LeasesRead {
		f.next.Awaited = f.prev.Awaited
	}
	// A picture of generation 0 was read for no leases at all.
	f.next.Complete = f.set.Complete && f.state.Complete && f.set.Generation > 0 && f.state.Generation > 0
	f.sources()
	f.devices()
	f.changes()
	f.leases()
	f.stale()
	f.nodeProblems()
	f.rememberNodeProblems()
	f.incidents()
	f.summarize()
	f.wakeForPending()
	f.next.Healthy = f.healthy()
}

// kernelSource is the name of the kernel among the sources.
const kernelSource = "kernel"

// doubtSilence takes a side that was not heard of for too long as incomplete.
func (f *fold) doubtSilence() {
	if f.set.Complete && f.silent(f.set.Synced) {
		s := *f.set
		s.Complete, s.Problem = false, "nothing was heard from this source since the time it was last read: restart the exporter, and report this"
		f.set = &s
	}
	if f.state.Complete && f.silent(f.state.At) {
		s := *f.state
		s.Complete, s.Problem = false, "the kernel was not read since the time it was last read: restart the exporter, and report this"
		f.state = &s
	}
}

// silent reports whether last is too long ago, and else asks to be called when it will be.
func (f *fold) silent(last time.Time) bool {
	if f.opts.MaxSilence == 0 || last.IsZero() {
		return false
	}
	end := last.Add(f.opts.MaxSilence)
	if !f.in.Now.Before(end) {
		return true
	}
	f.wakeAt(end)
	return false
}

// wakeAt asks for a call at t, if that is the nearest time asked for.
func (f *fold) wakeAt(t time.Time) {
	if f.wake.IsZero() || t.Before(f.wake) {
		f.wake = t
	}
}

// backend is this node's: configured, published, or for one that publishes
// nothing told by its device: udp alone has a tun device with the own address.
// It stays that when the device goes, as it does with flannel's process.
func (f *fold) backend() string {
	backend := f.opts.Flannel.BackendOf(f.set)
	own, ok := f.set.OwnOf(netstate.IPv4)
	if backend != "" || !ok || own.Malformed != "" {
		return backend
	}
	if f.prev.Backend == "udp" {
		return "udp"
	}
	for _, link := range f.state.Links {
		if slices.Contains(expect.TUNNames(), link.Name) && f.hasAddr(link.Index, own.Subnet.Addr()) {
			return "udp"
		}
	}
	return ""
}

// families are those that are judged: configured, or as the leases say.
func (f *fold) families() []netstate.Family {
	if len(f.opts.Flannel.Families) > 0 {
		return f.opts.Flannel.Families
	}
	return f.set.Families
}

func (f *fold) sources() {
	name := f.set.Source
	if name == "" {
		name = "leases"
	}
	f.next.Sources = []wire.Source{
		{Name: name, Complete: f.set.Complete, Problem: f.set.Problem, LastSync: f.set.Synced, Written: f.set.Written},
		{Name: kernelSource, Complete: f.state.Complete, Problem: f.state.Problem, LastSync: f.state.At},
	}
	if f.in.Set == nil {
		f.next.Sources[0].Problem = wire.NotReadYet
	}
	if f.in.State == nil {
		f.next.Sources[1].Problem = wire.NotReadYet
	}
	for _, s := range f.set.Skipped {
		f.next.Skipped = append(f.next.Skipped, wire.Skipped(s))
	}
}

func (f *fold) devices() {
	for _, family := range f.next.Families {
		names := f.opts.Flannel.DevicesOf(f.set, family, f.next.VNI)
		if len(names) == 0 {
			continue
		}
		d := wire.Device{Family: family, Name: names[0], VNI: f.next.VNI}
		if link, ok := f.view.device(family); ok {
			d = wire.Device{
				Name: link.Name, Family: family, Present: true, Up: link.Up, VNI: link.VXLAN.VNI, MAC: link.MAC, MTU: link.MTU, Index: link.Index,
			}
		} else if i := slices.IndexFunc(f.prev.Devices, func(o wire.Device) bool { return o.Family == family && o.Name == d.Name }); i >= 0 {
			d.Index = f.prev.Devices[i].Index
		}
		f.next.Devices = append(f.next.Devices, d)
	}
}

// leases judges what the input touched and copies the rest.
func (f *fold) leases() {
	f.all = f.in.Touched == nil || !f.aligned
	if f.all {
		f.eachLease()
		return
	}
	f.judged = f.mem.index.at(f.in.Touched...)
	f.next.Leases = slices.Clone(f.prev.Leases)
	for _, i := range f.judged {
		f.next.Leases[i] = f.lease(f.prev.Leases[i], &f.set.Leases[i])
	}
}

// eachLease goes over the set and the previous snapshot, whose leases may be others.
func (f *fold) eachLease() {
	prev := f.prev.Leases
	f.next.Leases = make([]*wire.Lease, len(f.set.Leases))
	for i := range f.set.Leases {
		l := &f.set.Leases[i]
		var was *wire.Lease
		if f.aligned {
			was = prev[i]
		} else {
			for len(prev) > 0 && compareKey(prev[0], l) < 0 {
				prev = prev[1:]
			}
			if len(prev) > 0 && compareKey(prev[0], l) == 0 {
				was = prev[0]
			}
		}
		if was != nil && f.in.Touched != nil && !slices.Contains(f.in.Touched, l.Subnet) {
			f.next.Leases[i] = was
		} else {
			f.next.Leases[i] = f.lease(was, l)
		}
	}
}

func (f *fold) lease(was *wire.Lease, l *lease.Lease) *wire.Lease {
	f.chain = expect.ChainOf(f.opts.Flannel, f.set, *l)
	return Lease(f.start(was, l), &f.chain, f.view.evidence(&f.chain), f.in.Now, &f.opts)
}

// wakeForPending asks to be called when the grace of a pending lease ends.
func (f *fold) wakeForPending() {
	if f.next.Summary.States[verdict.Pending] == 0 {
		return
	}
	for _, l := range f.next.Leases {
		if l.State == verdict.Pending {
			f.wakeAt(l.Changed.Add(f.opts.Grace))
		}
	}
}

// start returns what was known of a lease before this call. A lease that was
// not there before changed now, but at the exporter's start it changed when its
// Node was made, so that a restart judges old leases at once.
func (f *fold) start(was *wire.Lease, l *lease.Lease) *wire.Lease {
	if was == nil {
		fresh := &wire.Lease{Changed: l.Created, Cause: verdict.CauseUnknown}
		for _, own := range f.set.Own {
			if own.Created.After(fresh.Changed) {
				fresh.Changed = own.Created // this node is younger than its peer
			}
		}
		if f.prev.LeasesRead {
			fresh.Changed, fresh.Cause = f.in.Now, verdict.NeverInstalled
		}
		f.resume(fresh, l.Subnet)
		return fresh
	}
	started := f.prev.LeasesRead && !f.prev.OwnLeaseKnown && f.next.OwnLeaseKnown && !was.Completed
	same := was.PublicIP == l.PublicIP && was.Backend == l.BackendType &&
		was.VNI == l.VNI && was.MAC == l.MAC && was.PublicKey == l.PublicKey
	if same && !started {
		return was
	}
	prev := *was
	if started {
		prev.Changed, prev.Cause = f.in.Now, verdict.NeverInstalled // flannel has just started here
	}
	if !same {
		prev.Changed, prev.Completed = f.in.Now, false
		if prev.State.Healthy() {
			prev.Cause = verdict.LeaseChanged
		}
	}
	return &prev
}

func compareKey(w *wire.Lease, l *lease.Lease) int {
	return cmp.Or(cmp.Compare(w.Peer, l.Peer), cmp.Compare(w.Family, l.Family), w.Lease.Compare(l.Subnet))
}

// healthy is the definition: complete, the own lease known, every lease well,
// no node problem that is more than information.
func (f *fold) healthy() bool {
	if !f.next.Complete || !f.view.ownKnown {
		return false
	}
	for state, n := range f.next.Summary.States {
		if n > 0 && !state.Healthy() {
			return false
		}
	}
	return !slices.ContainsFunc(f.next.NodeProblems, func(p wire.NodeProblem) bool { return !p.Problem.Info() })
}
