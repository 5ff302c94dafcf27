package main

import (
	"context"
	"time"

	"routewatch/exporter/internal/eventlog"
	"routewatch/exporter/internal/history"
	"routewatch/shared/wire"
)

// memory is what happened: the last events, and with --history.file those of
// the processes before this one.
type memory struct {
	events *eventlog.Log
	past   *wire.Snapshot // nil without a file
	store  *history.Store // nil without a file
}

// recall reads the file, if there is one.
func recall(cfg config) memory {
	now := time.Now().UTC()
	start := eventlog.Start{Base: uint64(now.UnixMilli())}
	if cfg.history.path == "" {
		return memory{events: eventlog.New(start)}
	}
	store, past := history.Open(cfg.history.path, cfg.history.maxSize, cfg.log, now)
	start.Events, start.Whole = past.Events, past.Whole
	m := memory{events: eventlog.New(start), past: past.Snapshot, store: store}
	m.events.Append(past.News...)
	return m
}

// record writes events into the file until the function that it returns is
// called, which waits for the last of them.
func (m memory) record(latest func() *wire.Snapshot) (finish func()) {
	if m.store == nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.store.Run(ctx, m.events, latest)
	}()
	return func() { stop(); <-done }
}

// status is the state of the file, nil if there is none.
func (m memory) status() *wire.History {
	if m.store == nil {
		return nil
	}
	return m.store.Status()
}
