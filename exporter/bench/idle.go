//go:build linux

package main

import "time"

// idleFor is the default of --audit-interval: one audit is in it.
const idleFor = 30 * time.Second

// idle is what the exporter costs while nothing happens.
func idle(o options) scenario {
	return scenario{
		name: "idle", about: "50 leases, nothing happens for 30 s, the time from one audit to the next",
		bars: []bar{{"CPU", "% of a core", "", 0.1}},
		prepare: func() ([]contestant, func(), error) {
			w, err := newWorld(50)
			if err != nil {
				return nil, nil, err
			}
			e, err := startExporter(o, w)
			if err != nil {
				w.Close()
				return nil, nil, err
			}
			time.Sleep(5 * time.Second)
			round := func() (figures, error) {
				cpu, lasted, err := e.spent(func() error { time.Sleep(idleFor); return nil })
				return figures{"CPU": percent(cpu, lasted)}, err
			}
			return []contestant{{ours, round}}, func() { e.stop(); w.Close() }, nil
		},
	}
}
