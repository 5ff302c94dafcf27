package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/common/version"

	"routewatch/exporter/internal/kernel"
	"routewatch/shared/expect"
	"routewatch/shared/judge"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// once reads both sides, prints one status and says what it means. A side that
// cannot be read is in the status as well as on stderr.
func once(ctx context.Context, cfg config, stdout, stderr io.Writer) (wire.Outcome, error) {
	warn := func(err error) {
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", program, err)
		}
	}
	set, err := cfg.leases.read(ctx)
	warn(err)
	state, err := kernel.ReadOnce(ctx, cfg.kernel, expect.InterestOf(cfg.judge.Flannel, &set))
	warn(err)
	if err != nil {
		state = &netstate.State{Problem: err.Error()}
	}
	snapshot, _ := judge.Next(cfg.judge, nil, judge.Input{Set: &set, State: state, Now: time.Now().UTC()})
	status := snapshot.Status()
	status.Version = version.Version

	e := json.NewEncoder(stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(status); err != nil {
		return wire.CannotTell, fmt.Errorf("print the status: %w", err)
	}
	return status.Outcome(status.Time), nil
}
