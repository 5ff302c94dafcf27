package judge

import (
	"net/netip"
	"testing"

	"routewatch/shared/netstate"
)

// BenchmarkNext judges 5,000 leases: all of them, and one that was touched.
func BenchmarkNext(b *testing.B) {
	w := newWorld(5000, ip4)
	in := w.input()
	prev, _ := Next(opts, nil, in)
	if !prev.Healthy {
		b.Fatal("not healthy")
	}
	for name, touched := range map[string][]netip.Prefix{"all": nil, "one": {w.peers[7].Subnet}} {
		b.Run(name, func(b *testing.B) {
			in.Touched = touched
			b.ReportAllocs()
			for b.Loop() {
				Next(opts, prev, in)
			}
		})
	}
}

// BenchmarkNext_Flap judges a flap of 5,000 leases amid a thousand other events.
func BenchmarkNext_Flap(b *testing.B) {
	w := newWorld(5000, ip4)
	prev, _ := Next(opts, nil, w.input())
	for range 1000 {
		w.hints = append(w.hints, netstate.Hint{At: w.at, Kind: netstate.LinkChanged, Device: "veth0", Index: 99, Up: true})
	}
	w.flap(ip4)
	in := w.input()
	b.ReportAllocs()
	for b.Loop() {
		if s, _ := Next(opts, prev, in); s.Summary.Missing != 5000 {
			b.Fatal(s.Summary)
		}
	}
}
