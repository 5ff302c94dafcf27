package main

import (
	"context"
	"net/netip"

	"routewatch/exporter/internal/engine"
	"routewatch/exporter/internal/kernel"
	"routewatch/shared/judge"
	"routewatch/shared/wire"
)

// explainer explains addresses by the latest snapshot, and by what the kernel
// answers now.
func explainer(cfg config, eng *engine.Engine) func(context.Context, netip.Addr) wire.Explanation {
	asker := kernel.NewAsker(cfg.kernel)
	return func(ctx context.Context, address netip.Addr) wire.Explanation {
		s, in := eng.Evidence()
		var live judge.Live
		var err error
		live.Lookups, err = asker.Ask(ctx, judge.ExplainQueries(cfg.judge, s, in, address))
		if err != nil {
			live.Problem = err.Error()
		}
		return judge.Explain(cfg.judge, s, in, address, live)
	}
}
