package engine

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func peer(n int, state verdict.State, effect verdict.Effect, cause verdict.Cause) wire.Lease {
	l := wire.Lease{
		Lease: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(n), 0}), 24), Family: netstate.IPv4,
		Peer: fmt.Sprintf("peer%03d", n), State: state, Effect: effect, Cause: cause,
	}
	if !state.Healthy() {
		l.Since = noon
	}
	return l
}

func ok(n int) wire.Lease { return peer(n, verdict.OK, verdict.Delivered, "") }
func missing(n int) wire.Lease {
	return peer(n, verdict.Missing, verdict.Leaking, verdict.CauseLinkDown)
}
func unknown(n int) wire.Lease { return peer(n, verdict.Unknown, verdict.EffectUnknown, "") }

func leases(n int, make func(int) wire.Lease) []*wire.Lease {
	var all []wire.Lease
	for i := range n {
		all = append(all, make(i))
	}
	return netstate.Refs(all)
}

// lines are what logTransitions writes, without the time.
func lines(old, next *wire.Snapshot) []string {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	logTransitions(log, old, next)
	return strings.FieldsFunc(b.String(), func(r rune) bool { return r == '\n' })
}

func of(leases ...wire.Lease) []*wire.Lease { return netstate.Refs(leases) }

func TestLogTransitions(t *testing.T) {
	source := func(complete bool, problem string) []wire.Source {
		return []wire.Source{{Name: "file", Complete: complete, Problem: problem}}
	}
	neighbor := peer(1, verdict.NeighborMissing, verdict.Undeliverable, verdict.CauseLinkDown)
	problem := wire.NodeProblem{Problem: verdict.DeviceMAC, Family: netstate.IPv4, Device: "flannel.1", Since: noon, Message: "expected a, is b"}
	stale := wire.Stale{Kind: wire.StaleRoute, Family: netstate.IPv4, Object: "10.244.9.0/24 via 10.244.9.0", Since: noon}
	young := stale
	young.Pending = true
	odd := missing(1)
	odd.Peer, odd.Lease = "a\n\"b\xff", netip.Prefix{}

	tests := []struct {
		name      string
		old, next wire.Snapshot
		want      []string
	}{
		{name: "nothing", want: nil},
		{
			name: "lease becomes bad",
			old:  wire.Snapshot{Leases: of(ok(1), ok(2))}, next: wire.Snapshot{Leases: of(missing(1), ok(2))},
			want: []string{`level=WARN msg="lease is bad" lease=10.244.1.0/24 peer=peer001 family=ipv4 state=missing effect=leaking cause=link_down since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "bad lease is bad in another way",
			old:  wire.Snapshot{Leases: of(missing(1))}, next: wire.Snapshot{Leases: of(neighbor)},
			want: []string{`level=WARN msg="lease is bad" lease=10.244.1.0/24 peer=peer001 family=ipv4 state=neighbor_missing effect=undeliverable cause=link_down since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "lease becomes well",
			old:  wire.Snapshot{Leases: of(missing(1))}, next: wire.Snapshot{Leases: of(ok(1))},
			want: []string{`level=INFO msg="lease is well" lease=10.244.1.0/24 peer=peer001 family=ipv4 state=ok effect=delivered since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "lease becomes unknown",
			old:  wire.Snapshot{Leases: of(missing(1))}, next: wire.Snapshot{Leases: of(unknown(1))},
			want: []string{`level=WARN msg="lease is unknown" lease=10.244.1.0/24 peer=peer001 family=ipv4 state=unknown effect=unknown since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "bad lease is removed, well ones come and go in silence",
			old:  wire.Snapshot{Leases: of(missing(1), ok(2))}, next: wire.Snapshot{Leases: of(ok(3), unknown(4))},
			want: []string{`level=INFO msg="bad lease is gone" lease=10.244.1.0/24 peer=peer001 family=ipv4 since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "a new lease that is bad",
			next: wire.Snapshot{Leases: of(missing(1))},
			want: []string{`level=WARN msg="lease is bad" lease=10.244.1.0/24 peer=peer001 family=ipv4 state=missing effect=leaking cause=link_down since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "one line each for 20",
			old:  wire.Snapshot{Leases: leases(20, missing)}, next: wire.Snapshot{Leases: leases(20, ok)},
			want: make([]string, 20),
		},
		{
			name: "one line for 21, and one for the odd one out",
			old:  wire.Snapshot{Leases: leases(22, ok)}, next: wire.Snapshot{Leases: append(leases(21, missing), of(unknown(21))...)},
			want: []string{
				`level=WARN msg="leases are bad" family=ipv4 state=missing effect=leaking cause=link_down count=21 first=10.244.0.0/24 firstPeer=peer000 since=2026-11-23T12:00:00.000Z`,
				`level=WARN msg="lease is unknown" lease=10.244.21.0/24 peer=peer021 family=ipv4 state=unknown effect=unknown since=2026-11-23T12:00:00.000Z`,
			},
		},
		{
			name: "odd names stay on one line",
			next: wire.Snapshot{Leases: of(odd)},
			want: []string{`level=WARN msg="lease is bad" peer="a\n\"b\xff" family=ipv4 state=missing effect=leaking cause=link_down since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "source lost", old: wire.Snapshot{Sources: source(true, "")}, next: wire.Snapshot{Sources: source(false, "no such file")},
			want: []string{`level=WARN msg="source cannot be read" name=file problem="no such file"`},
		},
		{
			name: "source read, with a problem", old: wire.Snapshot{Sources: source(false, "not read yet")}, next: wire.Snapshot{Sources: source(true, "no own lease")},
			want: []string{`level=WARN msg="source is read, with a problem" source=file problem="no own lease"`},
		},
		{
			name: "source still with a problem", old: wire.Snapshot{Sources: source(true, "no own lease")}, next: wire.Snapshot{Sources: source(true, "no own lease")},
		},
		{
			name: "source still lost", old: wire.Snapshot{Sources: source(false, "no such file")}, next: wire.Snapshot{Sources: source(false, "no such file")},
		},
		{
			name: "source back", old: wire.Snapshot{Sources: source(false, "no such file")}, next: wire.Snapshot{Sources: source(true, "")},
			want: []string{`level=INFO msg="source is read" name=file`},
		},
		{
			name: "complete", next: wire.Snapshot{Complete: true, Healthy: true, Summary: wire.Summary{Leases: 4}},
			want: []string{`level=INFO msg="complete: leases and kernel are known" leases=4 healthy=true`},
		},
		{
			name: "no longer complete", old: wire.Snapshot{Complete: true},
			want: []string{`level=WARN msg="not complete: leases or kernel are not known"`},
		},
		{
			name: "node problem", next: wire.Snapshot{NodeProblems: []wire.NodeProblem{problem}},
			want: []string{`level=WARN msg="node problem" problem=device_mac family=ipv4 device=flannel.1 message="expected a, is b" since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "node problem gone", old: wire.Snapshot{NodeProblems: []wire.NodeProblem{problem}},
			want: []string{`level=INFO msg="node problem is gone" problem=device_mac family=ipv4 device=flannel.1 message="expected a, is b" since=2026-11-23T12:00:00.000Z`},
		},
		{
			name: "stale within the grace", next: wire.Snapshot{Stale: []wire.Stale{young}},
		},
		{
			name: "stale", old: wire.Snapshot{Stale: []wire.Stale{young}}, next: wire.Snapshot{Stale: []wire.Stale{stale}},
			want: []string{`level=INFO msg="stale object appeared" kind=route family=ipv4 object="10.244.9.0/24 via 10.244.9.0" since=2026-11-23T12:00:00.000Z`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lines(&tt.old, &tt.next)
			if len(tt.want) > 0 && tt.want[0] == "" { // only their number matters
				if len(got) != len(tt.want) {
					t.Errorf("got %d lines, want %d:\n%s", len(got), len(tt.want), strings.Join(got, "\n"))
				}
				return
			}
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("nil", func(s []string) string { return strings.Join(s, "\n") })); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if again := lines(&tt.next, &tt.next); len(again) > 0 {
				t.Errorf("an unchanged snapshot logged %q", again)
			}
		})
	}
}

func TestLogTransitions_ManyStaleObjectsAreOneLine(t *testing.T) {
	var next wire.Snapshot
	for i := range 30 {
		next.Stale = append(next.Stale, wire.Stale{Kind: wire.StaleFDB, Object: fmt.Sprint(i)})
	}
	want := []string{`level=INFO msg="stale objects appeared" count=30 first=0`}
	if diff := cmp.Diff(want, lines(&wire.Snapshot{}, &next)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
