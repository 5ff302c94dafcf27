//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	irrelevantEvents = 100_000
	foreignTable     = 1000 // that no rule selects
	settle           = 500 * time.Millisecond
)

// irrelevant is what events cost that no lease has to do with.
func irrelevant(o options) scenario {
	return scenario{
		name: "irrelevant events",
		about: fmt.Sprintf("%d route events of others in a second, half of them in table main, half in another; %s later the CPU is read",
			irrelevantEvents, settle),
		bars: []bar{
			{"CPU", "ms", "without the filter", 0.02},
			{"events a second", "", "", noBar},
		},
		prepare: func() ([]contestant, func(), error) {
			w, err := newWorld(50)
			if err != nil {
				return nil, nil, err
			}
			return []contestant{
				{ours, func() (figures, error) { return w.irrelevantRound(o) }},
				{"without the filter", func() (figures, error) { return w.irrelevantRound(o, "--kernel.unfiltered") }},
			}, w.Close, nil
		},
	}
}

func (w *world) irrelevantRound(o options, flags ...string) (figures, error) {
	e, err := startExporter(o, w, flags...)
	if err != nil {
		return nil, err
	}
	defer e.stop()
	wr, err := newWriter(w.NS)
	if err != nil {
		return nil, err
	}
	defer wr.close()
	time.Sleep(settle) // until what the start has made is done
	var offered float64
	cpu, _, err := e.spent(func() error {
		start := time.Now()
		if err := w.offer(wr); err != nil {
			return err
		}
		offered = irrelevantEvents / time.Since(start).Seconds()
		time.Sleep(settle)
		return nil
	})
	return figures{"CPU": milliseconds(cpu), "events a second": offered}, err
}

// offer makes the events, evenly within a second where the kernel is fast enough.
func (w *world) offer(wr *writer) error {
	const steps = 10
	const each = irrelevantEvents / steps / 4 // a route makes two events, in each of two tables
	next := time.NewTicker(time.Second / steps)
	defer next.Stop()
	for range steps {
		var err error
		for _, table := range []uint32{unix.RT_TABLE_MAIN, foreignTable} {
			err = errors.Join(err, wr.addForeign(0, each, gateway, w.uplink, table), wr.delForeign(0, each, table))
		}
		if err != nil {
			return err
		}
		<-next.C
	}
	return nil
}
