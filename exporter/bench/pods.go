//go:build linux

package main

import (
	"fmt"
	"net/netip"
	"time"

	"routewatch/shared/netstate"
)

const (
	podCount = 1000
	// residents are pods that stay. Without a port its carrier would leave cni0 with
	// each pod, which is an event that matters; no node is ever so empty.
	residents = 30
	podTime   = 20 * time.Second // for all of them: 50 a second is more than a kubelet makes
)

// pods is what the coming and going of pods costs.
func pods(o options) scenario {
	return scenario{
		name: "1,000 pods", about: "pods come and go one after the other, at most 50 a second: veth, bridge port, address, neighbor",
		bars: []bar{{"CPU", "% of a core", "", 2}, {"lasted", "s", "", noBar}},
		prepare: func() ([]contestant, func(), error) {
			w, err := newWorld(50)
			if err != nil {
				return nil, nil, err
			}
			for i := range residents {
				if err := w.startPod(fmt.Sprintf("resident%d", i)); err != nil {
					w.Close()
					return nil, nil, err
				}
			}
			return []contestant{{ours, func() (figures, error) { return w.podsRound(o) }}}, w.Close, nil
		},
	}
}

func (w *world) podsRound(o options) (figures, error) {
	e, err := startExporter(o, w)
	if err != nil {
		return nil, err
	}
	defer e.stop()
	bridge, err := w.LinkIndex("cni0")
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Second) // until what the start has made is done
	cpu, lasted, err := e.spent(func() error {
		next := time.NewTicker(podTime / podCount)
		defer next.Stop()
		for i := range podCount {
			if err := w.pod(i, bridge); err != nil {
				return fmt.Errorf("pod %d: %w", i, err)
			}
			<-next.C
		}
		return nil
	})
	return figures{"CPU": percent(cpu, lasted), "lasted": lasted.Seconds()}, err
}

// pod is one from its start to its end. The neighbor is what the first packet to
// it makes.
func (w *world) pod(i, bridge int) error {
	name := fmt.Sprintf("veth%d", i)
	address := netip.AddrFrom4([4]byte{10, 0, 0, 2 + byte(i%250)})
	neighbor := netstate.Neighbor{Device: bridge, IP: address, MAC: mac(1<<15 + i)}
	must := &firstError{}
	must.do(w.startPod(name))
	must.do(w.other.AddAddr(name, netip.PrefixFrom(address, 24)))
	must.do(w.NeighReplace(neighbor))
	must.do(w.NeighDel(neighbor))
	must.do(w.DelLink(name))
	return must.err
}

// startPod does what the CNI plugin bridge does on the node.
func (w *world) startPod(name string) error {
	must := &firstError{}
	must.do(w.AddVeth(name, w.other, name))
	must.do(w.SetMaster(name, "cni0"))
	must.do(w.SetUp(name))
	must.do(w.other.SetUp(name))
	return must.err
}
