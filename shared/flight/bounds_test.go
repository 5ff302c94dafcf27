package flight_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"routewatch/shared/flight"
)

// What a recording takes. An hour of rest is an audit and a set each 30 s.
func TestSizes(t *testing.T) {
	for _, peers := range []int{50, 5000} {
		p := newTape(t)
		in := input(peers, noon)
		full := p.add(in)
		idle := 0
		for n := range 120 {
			set, state := *in.Set, *in.State
			set.Synced = noon.Add(time.Duration(n) * 30 * time.Second)
			state.At = set.Synced
			state.Counters.AuditDrift = uint64(n)
			in.Set, in.Touched, in.Now = &set, []netip.Prefix{}, set.Synced
			idle += p.add(in)
			in.State = &state
			idle += p.add(in)
		}
		p.section()
		whole := p.add(in)
		flap := p.add(flapped(in, in.Now.Add(time.Second)))
		flap += p.add(in)
		t.Logf("%d leases: full %d bytes, with its snapshot %d, an hour of rest %d, a flap %d", peers, full, whole, idle, flap)
		if peers == 50 && (idle > 100<<10 || flap > 16<<10) {
			t.Errorf("an hour of rest takes %d bytes and a flap %d, want at most 100 KiB and 16 KiB", idle, flap)
		}
	}
}

// Whatever a file holds: no panic, and not without end.
func FuzzReplay(f *testing.F) {
	p := play(f, 2)
	f.Add(p.Bytes(), false)
	f.Add(p.Bytes()[:100], false)
	f.Add([]byte("\x00rwff\xff\xff\xff\xff\x00\x00\x00\x00"), false)
	f.Add([]byte("{}"), true)
	f.Fuzz(func(t *testing.T, b []byte, framed bool) {
		if framed { // so that what is behind the checksum is met as well
			b = flight.Framed(b)
		}
		for range flight.Replay(bytes.NewReader(b)) {
		}
	})
}
