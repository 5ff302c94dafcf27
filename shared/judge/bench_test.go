package judge

import (
	"net/netip"
	"testing"
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
