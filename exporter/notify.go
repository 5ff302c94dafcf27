package main

import (
	"fmt"

	"github.com/prometheus/common/version"
	"github.com/urfave/cli/v2"

	"routewatch/exporter/internal/notify"
)

// notifies reports whether Kubernetes is to be told what happens.
func notifies(c *cli.Context) bool { return c.Bool(flagNotifyEvents) || c.Bool(flagNotifyCondition) }

// newNotifier prepares it; nil if nobody asked for it.
func newNotifier(c *cli.Context, cfg config) (*notify.Notifier, error) {
	if cfg.once || !notifies(c) {
		return nil, nil
	}
	n, err := notify.New(notify.Config{
		Kubeconfig: c.Path(flagKubeconfig),
		APIServer:  c.String(flagAPIServer),
		UserAgent:  program + "/" + version.Version,
		Node:       cfg.judge.Node,
		Events:     c.Bool(flagNotifyEvents),
		Condition:  c.Bool(flagNotifyCondition),
		Log:        cfg.log,
	})
	if err != nil {
		return nil, fmt.Errorf("--%s and --%s tell Kubernetes: %w", flagNotifyEvents, flagNotifyCondition, err)
	}
	return n, nil
}
