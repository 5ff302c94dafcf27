package flight_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"routewatch/shared/expect"
	"routewatch/shared/flight"
	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

var (
	noon    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	no      = false
	options = judge.Options{
		Node: "node-1", Grace: time.Minute, MaxSilence: 15 * time.Minute,
		Flannel:    expect.Config{Backend: "vxlan", VNI: 1, Network: []netip.Prefix{netip.MustParsePrefix("10.100.0.0/16")}, DirectRouting: &no},
		ShowLeases: mend.Advice{Command: "kubectl get nodes"},
	}
	header = flight.Header{Version: "1.2.3", Options: options}
)

var same = []cmp.Option{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func subnet(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + n>>8), byte(n), 0}), 24)
}

func mac(n int) netstate.MAC { return netstate.MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)} }

// input is a node with so many peers, all of them well.
func input(peers int, now time.Time) judge.Input {
	set := &lease.Set{Source: "file", Self: "node-1", Families: []netstate.Family{netstate.IPv4}, Complete: true, Synced: now, Generation: 1}
	of := func(n int) lease.Lease {
		return lease.Lease{
			Peer: fmt.Sprintf("node-%04d", n), Family: netstate.IPv4, Subnet: subnet(n), PublicIP: netip.AddrFrom4([4]byte{192, 168, byte(n >> 8), byte(n)}),
			BackendType: "vxlan", VNI: 1, MAC: mac(n), Created: noon.Add(-time.Hour),
		}
	}
	set.Own = []lease.Lease{of(1)}
	set.Own[0].Peer = "node-1"
	main := netstate.Route{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: netstate.Unicast, Device: 2, Gateway: netip.MustParseAddr("192.168.255.254")}
	lan := netstate.Route{Table: 254, Dst: netip.MustParsePrefix("192.168.0.0/16"), Type: netstate.Unicast, Device: 2, PrefSrc: set.Own[0].PublicIP}
	state := &netstate.State{
		At: now, Generation: 1, Complete: true,
		Links: []netstate.Link{
			{Index: 2, Name: "eth0", Up: true, LowerUp: true, Running: true, MTU: 1500},
			{Index: 3, Name: "flannel.1", Kind: "vxlan", Up: true, LowerUp: true, Running: true, MTU: 1450, MAC: mac(1), Lower: 2,
				VXLAN: netstate.VXLAN{VNI: 1, Port: 8472, Local: set.Own[0].PublicIP}},
		},
		Addrs:  []netstate.Addr{{Device: 3, Prefix: netip.PrefixFrom(subnet(1).Addr(), 32)}, {Device: 2, Prefix: netip.PrefixFrom(set.Own[0].PublicIP, 16)}},
		Rules:  []netstate.Rule{{Family: netstate.IPv4, Priority: 32766, Table: 254, Action: 1}},
		Routes: []*netstate.Route{&main, &lan}, Counters: netstate.Counters{Resyncs: map[string]uint64{"start": 1}},
	}
	for n := 2; n < 2+peers; n++ {
		l := of(n)
		set.Leases = append(set.Leases, l)
		r := netstate.Route{Table: 254, Dst: l.Subnet, Type: netstate.Unicast, Protocol: 3, Device: 3, Gateway: l.Subnet.Addr(), OnLink: true}
		state.Routes = append(state.Routes, &r)
		state.Neighbors = append(state.Neighbors, netstate.Neighbor{Device: 3, IP: l.Subnet.Addr(), MAC: l.MAC, State: netstate.NUDPermanent})
		state.FDB = append(state.FDB, netstate.FDBEntry{Device: 3, MAC: l.MAC, Dst: l.PublicIP, State: netstate.NUDPermanent})
		for _, src := range []netip.Addr{{}, subnet(1).Addr()} {
			state.Lookups = append(state.Lookups, &netstate.Lookup{Query: netstate.Query{Dst: expect.PodAddress(l.Subnet), Src: src}, Route: r})
		}
		state.Lookups = append(state.Lookups, &netstate.Lookup{Query: netstate.Query{Dst: l.PublicIP}, Route: lan})
	}
	state.Sort()
	return judge.Input{Set: set, State: state, Now: now}
}

// flapped is the same node after its device was down for a moment.
func flapped(in judge.Input, now time.Time) judge.Input {
	s := *in.State
	s.At, s.Triggered = now, now
	s.Routes = slices.DeleteFunc(slices.Clone(s.Routes), func(r *netstate.Route) bool { return r.Device == 3 })
	s.Neighbors, s.Lookups = nil, slices.Clone(s.Lookups)
	for i, l := range s.Lookups {
		if l.Route.Device == 3 {
			s.Lookups[i] = &netstate.Lookup{Query: l.Query, Route: *in.State.Routes[0]}
		}
	}
	s.Hints = []netstate.Hint{
		{At: now, Kind: netstate.LinkChanged, Device: "flannel.1", Index: 3},
		{At: now, Kind: netstate.LinkChanged, Device: "flannel.1", Index: 3, Up: true},
	}
	return judge.Input{Set: in.Set, State: &s, Now: now}
}

// tape judges and records as an exporter does.
type tape struct {
	testing.TB
	bytes.Buffer
	w    *flight.Writer
	now  *wire.Snapshot
	want []*wire.Snapshot
	ends []int // of the records
}

func newTape(t testing.TB) *tape {
	p := &tape{TB: t}
	p.section()
	return p
}

func (p *tape) section() {
	w, err := flight.NewWriter(&p.Buffer, header)
	if err != nil {
		p.Fatal(err)
	}
	p.w = w
}

func (p *tape) add(in judge.Input) int {
	before := p.Len()
	if err := p.w.Write(p.now, in); err != nil {
		p.Fatal(err)
	}
	p.now, _ = judge.Next(options, p.now, in)
	p.want, p.ends = append(p.want, p.now), append(p.ends, p.Len())
	return p.Len() - before
}

// play is start, healthy, flap, mended.
func play(t testing.TB, peers int) *tape {
	p := newTape(t)
	p.add(judge.Input{Now: noon})
	in := input(peers, noon.Add(time.Second))
	p.add(judge.Input{Set: in.Set, Now: noon.Add(time.Second)})
	p.add(in)
	p.add(flapped(in, noon.Add(2*time.Second)))
	p.add(input(peers, noon.Add(3*time.Second)))
	return p
}

func TestReplay_GivesWhatWasJudged(t *testing.T) {
	p := play(t, 5)
	if !p.want[2].Healthy || p.want[3].Healthy || len(p.want[3].Incidents) != 1 || !p.want[4].Healthy {
		t.Fatal("the play is not healthy, broken, healthy")
	}
	all, err := flight.All(&p.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	var got []*wire.Snapshot
	for i, m := range all {
		got = append(got, m.Snapshot)
		if m.N != i+1 {
			t.Errorf("moment %d has the number %d", i+1, m.N)
		}
	}
	if diff := cmp.Diff(p.want, got, same...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&header, all[0].Header, same...); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

// A file that begins in the middle of an incident goes on with it.
func TestReplay_SectionGoesOn(t *testing.T) {
	p := play(t, 5)
	in := input(5, noon.Add(4*time.Second))
	p.add(flapped(in, in.Now))
	p.Reset()
	p.section()
	p.want = nil
	p.add(flapped(in, noon.Add(5*time.Second)))
	all, err := flight.All(&p.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.want[0], all[0].Snapshot, same...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReplay_Gap(t *testing.T) {
	p := play(t, 5)
	in := input(5, noon.Add(4*time.Second))
	p.now, _ = judge.Next(options, p.now, flapped(in, in.Now)) // not recorded
	p.w.Lost(1)
	p.add(flapped(in, noon.Add(5*time.Second)))
	all, err := flight.All(&p.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1]
	if last.Lost != 1 {
		t.Errorf("lost %d, want 1", last.Lost)
	}
	if diff := cmp.Diff(p.now, last.Snapshot, same...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// fill sets every field below v to something, drawn; an unexported field of our
// own types would be lost and is an error.
func fill(t *rapid.T, v reflect.Value, path string) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = noon.Add(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, path)))
		return
	case *netip.Addr:
		*x = rapid.SampledFrom([]netip.Addr{{}, subnet(7).Addr(), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("::ffff:1.2.3.4")}).Draw(t, path)
		return
	case *netip.Prefix:
		*x = rapid.SampledFrom([]netip.Prefix{{}, subnet(7), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("0.0.0.0/0")}).Draw(t, path)
		return
	case *netip.AddrPort:
		*x = netip.AddrPortFrom(subnet(7).Addr(), 51820)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := path + "." + v.Type().Field(i).Name
			if !v.Type().Field(i).IsExported() {
				t.Fatalf("%s is not exported: a recording loses it", name)
			}
			fill(t, v.Field(i), name)
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, path) {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), path)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 3).Draw(t, path), 3))
		for i := range v.Len() {
			e := v.Index(i)
			if e.Kind() == reflect.Pointer { // lists hold no nil
				e.Set(reflect.New(e.Type().Elem()))
				e = e.Elem()
			}
			fill(t, e, path)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), path)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range rapid.IntRange(0, 2).Draw(t, path) {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, k, path)
			fill(t, e, path)
			v.SetMapIndex(k, e)
		}
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, path))
	case reflect.String:
		v.SetString(rapid.SampledFrom([]string{"", "a", "ü"}).Draw(t, path))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64Range(-1, 9).Draw(t, path))
	case reflect.Uint8:
		if v.Type() == reflect.TypeFor[netstate.Family]() {
			v.SetUint(rapid.SampledFrom([]uint64{4, 6}).Draw(t, path))
			return
		}
		v.SetUint(rapid.Uint64Range(0, 9).Draw(t, path))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Range(0, 9).Draw(t, path))
	default:
		t.Fatalf("%s: a %s is not known to this test", path, v.Kind())
	}
}

func draw[T any](t *rapid.T, name string) *T {
	x := new(T)
	fill(t, reflect.ValueOf(x).Elem(), name)
	return x
}

// Every field of what Next reads comes back, also those that JSON leaves out.
func TestProperty_EveryFieldComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		h := flight.Header{Version: "x", Options: *draw[judge.Options](t, "options")}
		w, err := flight.NewWriter(&b, h)
		if err != nil {
			t.Fatal(err)
		}
		past := draw[wire.Snapshot](t, "snapshot")
		var want []judge.Input
		var in judge.Input
		for range rapid.IntRange(1, 4).Draw(t, "inputs") {
			if rapid.Bool().Draw(t, "new set") {
				in.Set = draw[lease.Set](t, "set")
			}
			if rapid.Bool().Draw(t, "new state") {
				in.State = draw[netstate.State](t, "state")
			}
			if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
				in.Set = nil
			}
			in.Touched = rapid.SampledFrom([][]netip.Prefix{nil, {}, {subnet(7)}}).Draw(t, "touched")
			in.Now = noon
			want = append(want, in)
			if err := w.Write(past, in); err != nil {
				t.Fatal(err)
			}
		}
		all, err := flight.All(&b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(past, all[0].Previous, same...); diff != "" {
			t.Fatalf("snapshot (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(h, *all[0].Header, same...); diff != "" {
			t.Fatalf("header (-want +got):\n%s", diff)
		}
		for i, m := range all {
			if diff := cmp.Diff(want[i], m.Input, same...); diff != "" {
				t.Fatalf("input %d (-want +got):\n%s", i, diff)
			}
			if (m.Input.Touched == nil) != (want[i].Touched == nil) {
				t.Fatalf("input %d: nil and empty Touched are not told apart", i)
			}
		}
	})
}

// A full record comes again and again, so that damage costs little.
func TestWriter_RefreshesByItself(t *testing.T) {
	p := newTape(t)
	in := input(5, noon)
	smallest, largest := 1<<30, 0
	for n := range 1000 {
		s := *in.State
		s.At = noon.Add(time.Duration(n) * 30 * time.Second)
		in.State, in.Now = &s, s.At
		if size := p.add(in); n > 0 {
			smallest, largest = min(smallest, size), max(largest, size)
		}
	}
	if largest < 4*smallest {
		t.Errorf("records of %d to %d bytes: no full one among them", smallest, largest)
	}
	all, err := flight.All(&p.Buffer)
	if err != nil || len(all) != 1000 {
		t.Fatalf("%d moments, %v", len(all), err)
	}
}
