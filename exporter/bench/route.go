//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/exporter/internal/engine"
	"routewatch/exporter/internal/kernel"
	"routewatch/shared/expect"
	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// deletions is how many routes are deleted in one round.
const deletions = 50

// deleted is how long it takes from the request that deletes a route to the
// snapshot that tells, or to the line that ip monitor prints.
func deleted(leases int, limit float64) func(options) scenario {
	return func(options) scenario {
		return deletedAmong(fmt.Sprintf("route deleted, %d leases", leases), leases, 0, limit)
	}
}

// amongMillions is the same with a million routes of others in table main, and
// as many in another: what they have to do with it is nothing.
func amongMillions(options) scenario {
	return deletedAmong("route deleted, 50 leases among 2,000,000 routes", 50, million, 2)
}

func deletedAmong(name string, leases, others int, limit float64) scenario {
	return scenario{
		name:  name,
		about: "from the request that deletes a route to the snapshot in which its lease is missing",
		bars:  []bar{{"p50", "µs", "ip monitor", limit}, {"p99", "µs", "ip monitor", 0}},
		prepare: func() ([]contestant, func(), error) {
			w, err := newWorld(leases)
			if err != nil {
				return nil, nil, err
			}
			if err := errors.Join(w.fill(others, unix.RT_TABLE_MAIN), w.fill(others, foreignTable)); err != nil {
				w.Close()
				return nil, nil, err
			}
			return []contestant{
				{ours, func() (figures, error) { return w.deletions(startPipeline(w, leases)) }},
				{"ip monitor", func() (figures, error) { return w.deletions(startMonitor(w, "route")) }},
			}, w.Close, nil
		},
	}
}

// deletions deletes a route and puts it back, again and again; a line of the
// child's is expected for each.
func (w *world) deletions(p *process, err error) (figures, error) {
	if err != nil {
		return nil, err
	}
	defer p.kill()
	wr, err := newWriter(w.NS)
	if err != nil {
		return nil, err
	}
	defer wr.close()
	subnet := w.set.Leases[len(w.set.Leases)/2].Subnet
	var took []float64
	for range deletions {
		time.Sleep(150 * time.Millisecond) // events that follow one another are gathered
		start := time.Now()
		if err := errors.Join(wr.del(subnet, unix.RT_TABLE_MAIN), wr.flush()); err != nil {
			return nil, err
		}
		if _, err := p.lines.ReadString('\n'); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(start).Nanoseconds())/1e3)
		if err := errors.Join(wr.add(subnet, subnet.Addr(), w.device, unix.RT_TABLE_MAIN, true), wr.flush()); err != nil {
			return nil, err
		}
		if _, err := p.lines.ReadString('\n'); err != nil {
			return nil, err
		}
	}
	return figures{"p50": percentile(took, 0.5), "p99": percentile(took, 0.99)}, nil
}

func startPipeline(w *world, leases int) (*process, error) {
	p, err := startChild("", "pipeline", w.Path(), strconv.Itoa(leases))
	if err == nil {
		err = p.ready()
	}
	return p, err
}

// startMonitor starts ip monitor, which does not say when it listens.
func startMonitor(w *world, what string) (*process, error) {
	p, err := start(w.Path(), "ip", "monitor", what)
	time.Sleep(500 * time.Millisecond)
	return p, err
}

// setOf is the set of a world with so many leases.
func setOf(leases int) lease.Set {
	var nodes []lease.Node
	for i := range leases + 1 {
		nodes = append(nodes, node(i))
	}
	set := lease.FromNodes(nodes, lease.Options{Self: self})
	set.Generation, set.Synced, set.Source = 1, time.Now(), "bench"
	return set
}

// pipeline is the exporter without its surface: kernel layer, engine, judge. It
// says "ready" when all is well, and prints a line for each snapshot after that in
// which another number of leases is missing.
func pipeline(args []string) error {
	leases, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	opts := judge.Options{Node: self, Grace: time.Minute}
	eng := engine.New(engine.Config{
		Next:       judge.New(opts).Next,
		InterestOf: func(set *lease.Set) expect.Interest { return expect.InterestOf(opts.Flannel, set) },
		Log:        slog.New(slog.DiscardHandler),
	})
	ctx := context.Background()
	sets, states := make(chan lease.Set), make(chan *netstate.State)
	failed := make(chan error, 2)
	go func() { failed <- kernel.Watch(ctx, kernel.Config{NetNS: args[0]}, eng.Interests(), states) }()
	go func() { failed <- eng.Run(ctx, sets, states) }()
	sets <- setOf(leases)
	missing := -1
	for {
		s, superseded := eng.Latest()
		switch now := s.Summary.Missing; {
		case !s.Complete || now == missing:
		case missing < 0 && now == 0:
			ready()
			missing = now
		case missing >= 0:
			fmt.Println(now)
			missing = now
		}
		select {
		case err := <-failed:
			return err
		case <-superseded:
		}
	}
}
