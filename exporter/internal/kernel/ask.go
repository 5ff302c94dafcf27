package kernel

import (
	"context"
	"errors"

	"routewatch/exporter/internal/enter"
	"routewatch/shared/netstate"
)

// maxAsking bounds the questions that are under way: while the kernel does not
// answer each holds a socket.
const maxAsking = 4

// Asker asks the kernel's own route lookup, beside what is watched.
type Asker struct {
	cfg   Config
	slots chan struct{}
}

// NewAsker returns an Asker for the kernel that cfg names.
func NewAsker(cfg Config) *Asker {
	cfg.setDefaults()
	return &Asker{cfg: cfg, slots: make(chan struct{}, maxAsking)}
}

// Ask returns the answers in the order of the queries.
func (a *Asker) Ask(ctx context.Context, queries []netstate.Query) ([]netstate.Lookup, error) {
	select {
	case a.slots <- struct{}{}:
	default:
		return nil, errors.New("the kernel is asked by others already: try again")
	}
	read := func() ([]netstate.Lookup, error) {
		defer func() { <-a.slots }()
		return a.ask(queries)
	}
	return await(ctx, a.cfg.patience, read)
}

func (a *Asker) ask(queries []netstate.Query) ([]netstate.Lookup, error) {
	netns, err := enter.Open(a.cfg.NetNS)
	if err != nil {
		return nil, err
	}
	if netns != nil {
		defer func() { _ = netns.Close() }()
	}
	req, err := dialRequests(netns)
	if err != nil {
		return nil, err
	}
	defer req.close()
	return req.lookups(queries)
}
