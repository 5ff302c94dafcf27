package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/common/version"
	"golang.org/x/sync/errgroup"

	"routewatch/exporter/internal/actor"
	"routewatch/exporter/internal/api"
	"routewatch/exporter/internal/engine"
	"routewatch/exporter/internal/kernel"
	"routewatch/exporter/internal/metrics"
	"routewatch/shared/events"
	"routewatch/shared/expect"
	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// watch runs the daemon until ctx ends, which is no error. The first task that
// fails ends the others.
func watch(ctx context.Context, cfg config) error {
	detection := metrics.NewDetection()
	mem := recall(cfg)
	tape, finish := record(cfg)
	defer finish()
	eng := engine.New(engine.Config{
		Next:       judge.New(cfg.judge).Next,
		InterestOf: func(set *lease.Set) expect.Interest { return expect.InterestOf(cfg.judge.Flannel, set) },
		Observe:    detection.Observe,
		Changed:    func(old, next *wire.Snapshot) { mem.events.Append(events.Between(old, next)...) },
		Record:     tape,
		Past:       mem.past,
		Log:        cfg.log,
	})
	tasks, ctx := errgroup.WithContext(ctx)
	latest := func() *wire.Snapshot { s, _ := eng.Latest(); return s }
	handler := api.Handler(api.Config{
		Latest:      latest,
		Version:     version.Version,
		Idle:        eng.Idle,
		Metrics:     metricsOf(cfg, mem, latest, detection),
		MetricsPath: cfg.web.metricsPath,
		Events:      mem.events,
		History:     mem.status,
		Explain:     explainer(cfg, eng),
		Stop:        ctx.Done(),
	})
	handler = bounded(handler, cfg.web.pprof)
	listeners, err := listen(ctx, cfg.web.addresses)
	if err != nil {
		return err
	}

	cfg.log.Info("starting", "version", version.Version, "revision", version.GetRevision(),
		"node", cfg.judge.Node, "leases", cfg.leases.name, "where", cfg.leases.where, "why", cfg.leases.why, "netns", cfg.kernel.NetNS)
	defer mem.record(latest)()
	if cfg.notifier != nil {
		defer cfg.notifier.Start(ctx, mem.events, latest)()
	}
	defer attribute(&cfg)()
	sets, states := make(chan lease.Set), make(chan *netstate.State)
	task := func(name string, run func() error) {
		tasks.Go(func() error {
			if err := run(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	task("leases", func() error { return cfg.leases.watch(ctx, sets) })
	task("kernel", func() error { return kernel.Watch(ctx, cfg.kernel, eng.Interests(), states) })
	task("engine", func() error { return eng.Run(ctx, sets, states) })
	for _, l := range listeners {
		task("http", func() error { return serve(ctx, l, handler, cfg.web.file, cfg.log) })
	}
	err = tasks.Wait()
	cfg.log.Info("stopped")
	return err
}

// metricsOf serves the metrics of what is turned on.
func metricsOf(cfg config, mem memory, latest func() *wire.Snapshot, detection *metrics.Detection) http.Handler {
	registry := metrics.NewRegistry(latest, detection, cfg.maxProblems)
	if mem.store != nil {
		metrics.RegisterHistory(registry, mem.status)
	}
	if cfg.notifier != nil {
		metrics.RegisterNotifications(registry, cfg.notifier.Counts)
	}
	return metrics.Handler(registry, cfg.log)
}

// attribute lets the kernel layer find out who makes a change, until the
// returned function is called. Without it, changes are told by nobody.
func attribute(cfg *config) (end func()) {
	who, err := actor.Open(cfg.kernel.NetNS)
	if err != nil {
		cfg.log.Warn("changes will not be told by whom", "problem", err)
		return func() {}
	}
	cfg.kernel.Actor = who.Resolve
	return func() { who.Close() }
}
