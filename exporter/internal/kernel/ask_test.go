//go:build linux

package kernel

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

func TestAsk(t *testing.T) {
	ns := netns.NewT(t)
	netns.Must(t, ns.SetUp("lo"))
	a := NewAsker(Config{NetNS: ns.Path()})
	loopback, nowhere := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	got, err := a.Ask(t.Context(), []netstate.Query{{Dst: nowhere}, {Dst: loopback}})
	netns.Must(t, err)
	if got[0].Errno != int(unix.ENETUNREACH) || got[1].Route.Type != netstate.Local || got[1].Query.Dst != loopback {
		t.Errorf("got %+v", got)
	}
	if _, err := NewAsker(Config{NetNS: "/nonexistent"}).Ask(t.Context(), nil); err == nil {
		t.Error("no error without the namespace")
	}
}

// A kernel that does not answer holds a few sockets, not one for each request.
func TestAsk_Bounded(t *testing.T) {
	a := NewAsker(Config{NetNS: "/nonexistent"})
	a.cfg.patience = time.Minute
	for range maxAsking {
		a.slots <- struct{}{}
	}
	if _, err := a.Ask(t.Context(), nil); err == nil || err.Error() != "the kernel is asked by others already: try again" {
		t.Errorf("error %v", err)
	}
	for range maxAsking {
		<-a.slots
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _, _ = a.Ask(t.Context(), nil) })
	}
	wg.Wait()
	if len(a.slots) != 0 {
		t.Errorf("%d slots are not given back", len(a.slots))
	}
}
