package main

import (
	"context"

	"github.com/prometheus/common/version"

	"routewatch/exporter/internal/recorder"
	"routewatch/shared/flight"
	"routewatch/shared/judge"
	"routewatch/shared/wire"
)

// record starts the flight recorder, if there is one. finish waits until what
// was judged is written.
func record(cfg config) (tape func(*wire.Snapshot, judge.Input), finish func()) {
	if cfg.record.path == "" {
		return nil, func() {}
	}
	r := recorder.New(recorder.Config{
		Path: cfg.record.path, MaxSize: cfg.record.maxSize,
		Header: flight.Header{Version: version.Version, Options: cfg.judge}, Log: cfg.log,
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	return r.Record, func() { stop(); <-done }
}
