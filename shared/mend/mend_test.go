package mend

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"routewatch/shared/netstate"
)

func TestStep_String(t *testing.T) {
	pfx, addr := netip.MustParsePrefix, netip.MustParseAddr
	mac := netstate.MAC{0x12, 0xc6, 0x65, 0x89, 0xb4, 0xe3}
	tests := []struct {
		step Step
		want string
	}{
		{
			Step{Verb: RouteReplace, Type: netstate.Unicast, Prefix: pfx("10.244.3.0/24"), Gateway: addr("10.244.3.0"), Device: "flannel.1", OnLink: true},
			"ip route replace 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink",
		},
		{
			Step{Verb: RouteDelete, Type: netstate.Blackhole, Prefix: pfx("fd00:10:3::/64"), Priority: 1024},
			"ip route del blackhole fd00:10:3::/64 metric 1024",
		},
		{
			Step{Verb: RouteDelete, Type: netstate.Unicast, Prefix: pfx("10.244.3.0/25"), Device: "tun0", Table: 52, Priority: 5},
			"ip route del 10.244.3.0/25 dev tun0 table 52 metric 5",
		},
		{Step{Verb: NeighborReplace, IP: addr("10.244.3.0"), MAC: mac, Device: "flannel.1"}, "ip neigh replace 10.244.3.0 lladdr 12:c6:65:89:b4:e3 dev flannel.1 nud permanent"},
		{Step{Verb: NeighborDelete, IP: addr("10.244.3.0"), Device: "flannel.1"}, "ip neigh del 10.244.3.0 dev flannel.1"},
		{Step{Verb: FDBReplace, MAC: mac, Device: "flannel.1", Dst: addr("192.168.1.58")}, "bridge fdb replace 12:c6:65:89:b4:e3 dev flannel.1 dst 192.168.1.58 self permanent"},
		{Step{Verb: FDBDelete, MAC: mac, Device: "flannel.1", Dst: addr("192.168.1.58")}, "bridge fdb del 12:c6:65:89:b4:e3 dev flannel.1 dst 192.168.1.58 self"},
		{Step{Verb: LinkUp, Device: "flannel.1"}, "ip link set flannel.1 up"},
		{Step{Verb: LinkAddress, Device: "flannel.1", MAC: mac}, "ip link set flannel.1 address 12:c6:65:89:b4:e3"},
		{Step{Verb: AddressReplace, Prefix: pfx("fd00:10:1::/128"), Device: "flannel-v6.1"}, "ip address replace fd00:10:1::/128 dev flannel-v6.1"},
		{Step{Verb: AddressDelete, Prefix: pfx("10.244.3.1/24"), Device: "cni0"}, "ip address del 10.244.3.1/24 dev cni0"},
		{Step{Verb: RuleAdd, Prefix: pfx("10.244.0.0/16"), Priority: 99}, "ip rule add to 10.244.0.0/16 lookup main pref 99"},
		{Step{Verb: RuleAdd, Prefix: pfx("fd00:10::/48"), Priority: 99}, "ip -6 rule add to fd00:10::/48 lookup main pref 99"},
	}
	for _, tt := range tests {
		if got := tt.step.String(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
		if got, err := Parse(tt.want); err != nil || got != tt.step {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", tt.want, got, err, tt.step)
		}
	}
}

func TestParse_Rejects(t *testing.T) {
	for _, s := range []string{
		"", "ip", "rm -rf /", "ip route", "ip route replace", "ip route replace 10.0.0.0/8 via",
		"ip route replace 10.0.0.0/8 via x dev y", "ip route replace 10.0.0.0/8 dev eth0; reboot",
		"ip neigh replace 10.0.0.1 lladdr zz dev eth0 nud permanent", "ip link set", "ip link set eth0 down",
		"ip rule add to 10.0.0.0/8 lookup main pref -1", "bridge fdb replace 12:c6:65:89:b4:e3 dev flannel.1 dst 192.168.1.58 self",
		"ip neigh del 10.244.3.0 dev",
	} {
		if step, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", s, step)
		}
	}
}

// What is printed is what is done: reading a printed step back gives the step.
func TestProperty_ParseReadsWhatStringPrints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a [16]byte
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
		ip := netip.AddrFrom16(a).Unmap()
		if rapid.Bool().Draw(t, "ipv4") {
			ip = netip.AddrFrom4([4]byte(a[:4]))
		}
		ip = ip.WithZone("")
		mac := netstate.MAC(a[:6])
		if mac.IsZero() {
			mac[5] = 1
		}
		prefix := netip.PrefixFrom(ip, rapid.IntRange(0, ip.BitLen()).Draw(t, "bits"))
		dev := rapid.StringMatching(`[a-z][a-z0-9.-]{0,14}`).Draw(t, "device")
		number := rapid.Uint32Range(1, 1<<32-1).Draw(t, "number")
		route := Step{
			Type:   rapid.SampledFrom([]netstate.RouteType{netstate.Unicast, netstate.Blackhole, netstate.Unreachable, netstate.Prohibit}).Draw(t, "type"),
			Prefix: prefix, Gateway: ip, Device: dev, OnLink: rapid.Bool().Draw(t, "onlink"), Priority: number, Table: 100,
		}
		replace, del := route, route
		replace.Verb, del.Verb = RouteReplace, RouteDelete
		step := rapid.SampledFrom([]Step{
			replace, del,
			{Verb: NeighborReplace, IP: ip, MAC: mac, Device: dev},
			{Verb: NeighborDelete, IP: ip, Device: dev},
			{Verb: FDBReplace, MAC: mac, Device: dev, Dst: ip},
			{Verb: FDBDelete, MAC: mac, Device: dev, Dst: ip},
			{Verb: LinkUp, Device: dev},
			{Verb: LinkAddress, MAC: mac, Device: dev},
			{Verb: AddressReplace, Prefix: prefix, Device: dev},
			{Verb: AddressDelete, Prefix: prefix, Device: dev},
			{Verb: RuleAdd, Prefix: prefix, Priority: number},
		}).Draw(t, "step")
		got, err := Parse(step.String())
		if err != nil || got != step {
			t.Fatalf("%s\nread back %+v, %v\nprinted   %+v", step, got, err, step)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("ip route replace 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink")
	f.Add("bridge fdb del 12:c6:65:89:b4:e3 dev flannel.1 dst 192.168.1.58 self")
	f.Fuzz(func(t *testing.T, s string) {
		step, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(step.String())
		if err != nil || again != step {
			t.Errorf("%q reads as %+v, which prints %q, which reads as %+v, %v", s, step, step, again, err)
		}
	})
}

// The dots of an annotation are escaped, or kubectl would take them for steps.
func TestShowNodeLeases(t *testing.T) {
	const want = `kubectl get nodes -o custom-columns='NAME:.metadata.name,CIDRS:.spec.podCIDRs,` +
		`IP:.metadata.annotations.a\.b/public-ip,DATA:.metadata.annotations.a\.b/backend-data'`
	if got := ShowNodeLeases("a.b/public-ip", "a.b/backend-data").Command; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
