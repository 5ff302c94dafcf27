package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func TestLease_Difference(t *testing.T) {
	const (
		route    = "10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink"
		neighbor = "10.244.3.0 dev flannel.1 lladdr 66:7c:0d:d2:be:a4 PERMANENT"
		other    = "10.244.3.0 dev flannel.1 lladdr 66:7c:0d:d2:be:a5 PERMANENT"
		fdb      = "66:7c:0d:d2:be:a4 dev flannel.1 dst 192.168.1.58 self permanent"
		shadow   = "10.244.3.0/25 via 192.168.1.1 dev ens33"
		wanted   = "wg flannel-wg peer KEY endpoint 192.168.1.58:51820 or [fd00::58]:51820 allowed-ips 10.244.3.0/24"
		there    = "wg flannel-wg peer KEY endpoint 192.168.1.58:51820 allowed-ips 10.244.3.0/24"
		strange  = "wg flannel-wg peer KEY endpoint 192.168.1.99:51820 allowed-ips 10.244.3.0/24"
		network  = "the pod network dev flannel-wg"
	)
	for _, tt := range []struct {
		name  string
		lease wire.Lease
		want  wire.Difference
	}{
		{"all is gone", wire.Lease{State: verdict.Missing, Expected: []string{route, neighbor, fdb}, Actual: []string{
			"no route for exactly 10.244.3.0/24", "no neighbor 10.244.3.0 dev flannel.1", fdb,
		}}, wire.Difference{Missing: []string{route, neighbor}, Unexpected: []string{}, Same: []string{fdb}}},
		{"another wins", wire.Lease{State: verdict.Shadowed, RoutePresent: true, Expected: []string{route, neighbor, fdb}, Actual: []string{
			route, shadow, neighbor, fdb,
		}}, wire.Difference{Missing: []string{}, Unexpected: []string{shadow}, Same: []string{route, neighbor, fdb}}},
		{"another MAC", wire.Lease{State: verdict.NeighborWrong, RoutePresent: true, Expected: []string{route, neighbor, fdb}, Actual: []string{
			route, other, fdb,
		}}, wire.Difference{Missing: []string{neighbor}, Unexpected: []string{other}, Same: []string{route, fdb}}},
		{"WireGuard, one of two endpoints", wire.Lease{State: verdict.UnderlayDown, RoutePresent: true, Expected: []string{network, wanted}, Actual: []string{
			there,
		}}, wire.Difference{Missing: []string{}, Unexpected: []string{}, Same: []string{network, wanted}}},
		{"WireGuard, wrong endpoint", wire.Lease{State: verdict.PeerWrong, RoutePresent: true, Expected: []string{network, wanted}, Actual: []string{
			strange,
		}}, wire.Difference{Missing: []string{wanted}, Unexpected: []string{strange}, Same: []string{network}}},
		{"WireGuard, no capability", wire.Lease{State: verdict.Unknown, RoutePresent: true, Expected: []string{network, wanted}, Actual: []string{
			"WireGuard peers of flannel-wg not read",
		}}, wire.Difference{Missing: []string{}, Unexpected: []string{}, Same: []string{network}, Unread: []string{wanted}}},
		{"WireGuard, no peer", wire.Lease{State: verdict.PeerMissing, RoutePresent: true, Expected: []string{network, wanted}, Actual: []string{
			"no WireGuard peer KEY dev flannel-wg",
		}}, wire.Difference{Missing: []string{wanted}, Unexpected: []string{}, Same: []string{network}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.lease.Difference()); diff != "" {
				t.Errorf("difference (-want +got):\n%s", diff)
			}
		})
	}
}
