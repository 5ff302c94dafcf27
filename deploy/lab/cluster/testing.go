//go:build linux

package cluster

import (
	"testing"
	"time"
)

// StartT starts a control plane that lives as long as the test. Where a part
// is missing the test fails: to skip it would hide that nothing was tested.
func StartT(tb testing.TB, cfg Config) *Cluster {
	tb.Helper()
	start := time.Now()
	c, err := Start(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("kube-apiserver's last words:\n%s", c.apiserver.Tail())
		}
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	tb.Logf("control plane: ready after %s", time.Since(start).Round(time.Millisecond))
	return c
}

// MustKubectl is Kubectl that ends the test if it fails.
func (c *Cluster) MustKubectl(tb testing.TB, args ...string) string {
	tb.Helper()
	out, _, err := c.Kubectl(args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
