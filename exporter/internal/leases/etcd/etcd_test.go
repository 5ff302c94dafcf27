package etcd

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"routewatch/exporter/internal/leases"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

const prefix = "/coreos.com/network"

func source() *Source {
	return New(Config{Prefix: prefix, Self: "node-1", Endpoints: []string{"http://127.0.0.1:2379"}, Addrs: func() ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.168.1.56")}, nil
	}})
}

func event(key, value string) *clientv3.Event {
	e := &clientv3.Event{Type: clientv3.EventTypePut, Kv: &mvccpb.KeyValue{Key: []byte(prefix + key), Value: []byte(value)}}
	if value == "" {
		e.Type = clientv3.EventTypeDelete
	}
	return e
}

func value(ip string) string { return `{"PublicIP":"` + ip + `","BackendType":"host-gw"}` }

// What was reported does not change any more, whatever the watch says after it.
func TestView_ReportsAreImmutable(t *testing.T) {
	v := view{source: source(), content: content{keys: map[string][]byte{}}, changed: true}
	first := v.report()
	v.apply([]*clientv3.Event{event("/subnets/10.244.1.0-24", value("192.168.1.56")), event("/config", "{}"), event("/other", "x")})
	v.apply([]*clientv3.Event{event("/subnets/10.244.2.0-24", value("192.168.1.57"))})
	second := v.report()
	v.apply([]*clientv3.Event{event("/subnets/10.244.1.0-24", "")})
	third := v.report()
	if diff := cmp.Diff([]int{0, 2, 1}, []int{len(first.content.keys), len(second.content.keys), len(third.content.keys)}); diff != "" {
		t.Errorf("keys in the three reports (-want +got):\n%s", diff)
	}
	if v.report().changed || !third.changed {
		t.Error("a report is changed only if something was since the one before")
	}
}

// A failure keeps the leases, and what it says is a person's.
func TestPublisher(t *testing.T) {
	p := publisher{source: source(), keep: leases.NewKeeper(lease.SourceEtcd, "node-1", nil)}
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	c := content{keys: map[string][]byte{
		"10.244.1.0-24": []byte(value("192.168.1.56")), "10.244.2.0-24": []byte(value("192.168.1.57")), "notes": []byte("x"),
	}, config: []byte(`{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}`)}
	if !p.take(report{content: c, changed: true, synced: now}, now) {
		t.Fatal("the first report is no news")
	}
	set := p.keep.Set()
	if !set.Complete || len(set.Own) != 1 || len(set.Leases) != 1 || len(set.Skipped) != 1 || set.Generation != 1 ||
		cmp.Diff([]netstate.Family{netstate.IPv4}, set.Families) != "" {
		t.Errorf("the first Set is %+v", set)
	}
	if !p.take(report{err: errors.New("etcd is lost")}, now) || p.keep.Set().Complete || len(p.keep.Set().Leases) != 1 {
		t.Errorf("after a failure: %+v", p.keep.Set())
	}
	if want := "etcd is lost; last in sync at 2026-11-26T12:00:00Z"; p.keep.Set().Problem != want {
		t.Errorf("problem %q, want %q", p.keep.Set().Problem, want)
	}
	later := now.Add(time.Minute)
	if !p.take(report{content: c, changed: true, synced: later}, later) || !p.keep.Set().Complete || p.keep.Set().Generation != 1 {
		t.Errorf("back again: %+v", p.keep.Set())
	}
	if !p.take(report{content: c, synced: later.Add(leases.Resend)}, later.Add(leases.Resend)) {
		t.Error("an unchanged Set is not sent when it is due")
	}
}

// Without a lease of this node nothing is judged: its own would count as a peer's.
func TestPublisher_OwnUnknown(t *testing.T) {
	s := source()
	s.cfg.Addrs = func() ([]netip.Addr, error) { return nil, nil }
	p := publisher{source: s, keep: leases.NewKeeper(lease.SourceEtcd, "node-1", nil)}
	p.take(report{content: content{keys: map[string][]byte{"10.244.1.0-24": []byte(value("192.168.1.56"))}}, changed: true}, time.Now())
	if set := p.keep.Set(); set.Complete || len(set.Leases) != 0 || set.Problem == "" {
		t.Errorf("got %+v", set)
	}
}
