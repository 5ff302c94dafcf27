//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/flannel"
	"routewatch/deploy/lab/netns"
)

func TestCluster_FlannelSmoke(t *testing.T) {
	netns.Require(t)
	netns.Must(t, build())
	control := cluster.StartT(t, cluster.Config{})
	start := time.Now()
	c, err := flannel.Start(t.Context(), flannel.Options{
		Control: control, Exporter: filepath.Join(programs, "routewatch-exporter"),
	})
	netns.Must(t, err)
	defer c.Close()
	t.Logf("up after %s", time.Since(start))
	time.Sleep(2 * time.Second)
	for _, n := range c.Nodes() {
		s, err := n.Status(t.Context())
		netns.Must(t, err)
		t.Logf("%s healthy %v %+v problems %+v", n.Name, s.Healthy, s.Summary.States, s.NodeProblems)
		for _, p := range s.Problems {
			t.Logf("%+v", p)
		}
		t.Log(n.FlannelLog())
	}
}
