//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"routewatch/deploy/lab/cluster"
)

const (
	watchers   = 40
	heartbeats = 400
)

// nodeWatch is what a watch of the Nodes costs the API server, by the form in
// which the Nodes are asked for: bytes sent, and CPU beyond what the same
// heartbeats take without a watch.
func nodeWatch(options) scenario {
	return scenario{
		name: "node watch", about: fmt.Sprintf("%d heartbeats of Nodes, seen by %d watches", heartbeats, watchers),
		bars: []bar{
			{"bytes per event", "B", "JSON, as flannel asks", 0.25},
			{"API server CPU per event", "µs", "JSON, as flannel asks", 0},
		},
		prepare: func() ([]contestant, func(), error) {
			ctx := context.Background()
			control, err := cluster.Start(ctx, cluster.Config{})
			if err != nil {
				return nil, nil, err
			}
			if err := createNodes(ctx, control, 1, heartbeats); err != nil {
				_ = control.Close()
				return nil, nil, err
			}
			beat := 0
			as := func(name, accept string) contestant {
				return contestant{name, func() (figures, error) { return watchRound(ctx, control, accept, &beat) }}
			}
			const protobuf = "application/vnd.kubernetes.protobuf"
			return []contestant{
				as(ours, protobuf+";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
				as("JSON, as flannel asks", "application/json"),
				as("whole Nodes", protobuf),
			}, func() { _ = control.Close() }, nil
		},
	}
}

func watchRound(ctx context.Context, c *cluster.Cluster, accept string, beat *int) (figures, error) {
	alone, err := beats(ctx, c, beat)
	if err != nil {
		return nil, err
	}
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := c.Do(ctx, "GET", "/api/v1/nodes?limit=1", nil, &list); err != nil {
		return nil, err
	}
	watching, cancel := context.WithCancel(ctx)
	var bytes atomic.Int64
	var all sync.WaitGroup
	defer func() {
		cancel()
		all.Wait()
	}()
	for range watchers {
		body, err := c.Stream(watching, "/api/v1/nodes?watch=true&resourceVersion="+list.Metadata.ResourceVersion, accept)
		if err != nil {
			return nil, err
		}
		all.Go(func() {
			defer body.Close()
			_, _ = io.Copy(counter{&bytes}, body) // until cancel
		})
	}
	watched, err := beats(ctx, c, beat)
	if err != nil {
		return nil, err
	}
	events := float64(watchers * heartbeats)
	return figures{"bytes per event": float64(bytes.Load()) / events, "API server CPU per event": 1e6 * (watched - alone) / events}, nil
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// beats has every Node's status written once, and returns the CPU seconds that
// the API server took, with what it still does in the second after.
func beats(ctx context.Context, c *cluster.Cluster, beat *int) (float64, error) {
	*beat++
	before, err := cpuOf(c.PID())
	if err != nil {
		return 0, err
	}
	for i := 1; i <= heartbeats; i++ {
		if err := heartbeat(ctx, c, i, *beat); err != nil {
			return 0, err
		}
	}
	time.Sleep(time.Second)
	after, err := cpuOf(c.PID())
	return after - before, err
}

// cpuOf is the CPU time of a process so far, in seconds.
func cpuOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, can hold anything.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
	var utime, stime float64
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &utime, &stime)
	return (utime + stime) / 100, err // USER_HZ
}
