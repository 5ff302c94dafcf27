package expect

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/netstate"
)

func TestReadNetConf(t *testing.T) {
	direct, tunnel := true, false
	tests := []struct {
		name, in string
		want     Config
	}{
		{
			"kube-flannel's", `{"Network": "10.244.0.0/16", "EnableNFTables": false, "Backend": {"Type": "vxlan"}}`,
			Config{Backend: "vxlan", Network: []netip.Prefix{pfx("10.244.0.0/16")}, Families: []netstate.Family{netstate.IPv4}, VNI: 1, Port: 8472, DirectRouting: &tunnel},
		},
		{
			"k3s, IPv4 only", `{"Network":"10.42.0.0/16","EnableIPv6":false,"EnableIPv4":true,"IPv6Network":"::/0","Backend":{"Type":"vxlan"}}`,
			Config{Backend: "vxlan", Network: []netip.Prefix{pfx("10.42.0.0/16")}, Families: []netstate.Family{netstate.IPv4}, VNI: 1, Port: 8472, DirectRouting: &tunnel},
		},
		{
			"IPv6 only, host bits", `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::1/56","Backend":{"Type":"VXLAN","VNI":4096,"Port":4789,"DirectRouting":true}}`,
			Config{Backend: "vxlan", Network: []netip.Prefix{pfx("fd00::/56")}, Families: []netstate.Family{netstate.IPv6}, VNI: 4096, Port: 4789, DirectRouting: &direct},
		},
		{
			"host-gw", `{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}`,
			Config{Backend: "host-gw", Network: []netip.Prefix{pfx("10.244.0.0/16")}, Families: []netstate.Family{netstate.IPv4}},
		},
		{
			"ipip", `{"Network":"10.244.0.0/16","Backend":{"Type":"ipip","DirectRouting":true}}`,
			Config{Backend: "ipip", Network: []netip.Prefix{pfx("10.244.0.0/16")}, Families: []netstate.Family{netstate.IPv4}, DirectRouting: &direct},
		},
		{
			"wireguard", `{"Network":"10.244.0.0/16","Backend":{"Type":"wireguard","Mode":"auto"}}`,
			Config{Backend: "wireguard", Network: []netip.Prefix{pfx("10.244.0.0/16")}, Families: []netstate.Family{netstate.IPv4}, WireGuardMode: "auto"},
		},
		{
			"wireguard without a mode", `{"Network":"10.244.0.0/16","Backend":{"Type":"wireguard"}}`,
			Config{Backend: "wireguard", Network: []netip.Prefix{pfx("10.244.0.0/16")}, Families: []netstate.Family{netstate.IPv4}, WireGuardMode: "separate"},
		},
		{
			"no backend is udp", `{"Network":"10.244.0.0/16"}`,
			Config{Backend: "udp", Network: []netip.Prefix{pfx("10.244.0.0/16")}, Families: []netstate.Family{netstate.IPv4}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadNetConf(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, text...); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, bad := range []string{
		"", "null", "{", "[]", `{"Network":"10.244.0.0"}`, `{"Network":"fd00::/56"}`, `{"Network":"10.0.0.0/8","Backend":{}}`,
		`{"EnableIPv4":false}`, `{"Network":"10.0.0.0/8","EnableIPv6":true}`, strings.Repeat(" ", 2<<20),
	} {
		if c, err := ReadNetConf(strings.NewReader(bad)); err == nil {
			t.Errorf("ReadNetConf(%.40q) = %+v, want an error", bad, c)
		}
	}
}

func FuzzReadNetConf(f *testing.F) {
	f.Add(`{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ReadNetConf(strings.NewReader(s))
		if err == nil && (len(c.Families) == 0 || len(c.Families) != len(c.Network) || c.Backend == "") {
			t.Errorf("accepted %q as %+v", s, c)
		}
	})
}
