//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/flannel"
	"routewatch/shared/netstate"
)

// clusterNodes is how many Nodes a large cluster has.
const clusterNodes = 5000

// parallel is how many requests are under way at the API server.
const parallel = 8

// memory is what routewatch and flanneld need on the same node of a cluster of
// 5,000, with the same real API server, for the same leases.
func memory(o options) scenario {
	return scenario{
		name: "memory", about: "resident memory on one node of 5,000, of a real API server",
		bars: []bar{{"resident", "MiB", "flanneld", 0.5}, {"at most", "MiB", "flanneld", 0.5}},
		prepare: func() ([]contestant, func(), error) {
			ctx := context.Background()
			control, err := cluster.Start(ctx, cluster.Config{})
			if err != nil {
				return nil, nil, err
			}
			release := func() { _ = control.Close() }
			if err := createNodes(ctx, control, 2, clusterNodes); err != nil {
				release()
				return nil, nil, err
			}
			program, err := exporterProgram(o)
			if err != nil {
				release()
				return nil, nil, err
			}
			running, err := flannel.Start(ctx, flannel.Options{
				Nodes: 1, Control: control, Exporter: program, Families: []netstate.Family{netstate.IPv4},
				MoreNetConf: `, "Network": "10.0.0.0/8"`,
			})
			if err != nil {
				release()
				return nil, nil, err
			}
			n := running.Node("node-1")
			return []contestant{
				{ours, func() (figures, error) {
					n.StopFlannel()
					if err := errors.Join(n.StartFlannel(ctx), n.RestartExporter(ctx), settled(ctx, n)); err != nil {
						return nil, err
					}
					_, exporter := n.PIDs()
					return residentOf(exporter)
				}},
				{"flanneld", func() (figures, error) {
					flanneld, _ := n.PIDs()
					return residentOf(flanneld)
				}},
			}, func() { _ = running.Close(); release() }, nil
		},
	}
}

// settled waits until flanneld has programmed all leases, the exporter has
// judged them, and both have had time to give memory back.
func settled(ctx context.Context, n *flannel.Node) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		s, err := n.Status(ctx)
		if err == nil && s.Healthy && s.Summary.Present == clusterNodes-1 {
			time.Sleep(10 * time.Second)
			return nil
		}
	}
	s, err := n.Status(ctx)
	return errors.Join(fmt.Errorf("not healthy within %s: %+v", patience, s.Summary), err)
}

// residentOf is the resident memory of a process, now and at most.
func residentOf(pid int) (figures, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	var now, peak float64
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %f", &now)
		_, _ = fmt.Sscanf(line, "VmHWM: %f", &peak)
	}
	return figures{"resident": now / 1024, "at most": peak / 1024}, nil
}

// createNodes makes node-first to node-last, with as much in each as a kubelet
// writes.
func createNodes(ctx context.Context, c *cluster.Cluster, first, last int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i := first; i <= last; i++ {
		g.Go(func() error {
			n := node(i)
			body := map[string]any{"apiVersion": "v1", "kind": "Node", "spec": n.Spec, "metadata": map[string]any{
				"name": n.Metadata.Name, "annotations": n.Metadata.Annotations, "labels": map[string]string{
					"kubernetes.io/hostname": n.Metadata.Name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
					"topology.kubernetes.io/zone": "zone-a", "node.kubernetes.io/instance-type": "m5.2xlarge",
				},
			}}
			if err := c.Do(ctx, http.MethodPost, "/api/v1/nodes", body, nil); err != nil {
				return err
			}
			return heartbeat(ctx, c, i, 0)
		})
	}
	return g.Wait()
}

// heartbeat is what a kubelet does every five minutes although nothing changed:
// it writes the Node's status, of which only times differ from the last.
func heartbeat(ctx context.Context, c *cluster.Cluster, i, beat int) error {
	at := time.Date(2026, 1, 1, 0, 0, beat, 0, time.UTC).Format(time.RFC3339)
	var conditions, images []any
	for _, name := range []string{"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"} {
		conditions = append(conditions, map[string]any{
			"type": name, "status": "False",
			"reason": "KubeletHasSufficient" + name, "message": "kubelet has sufficient " + name + " available",
			"lastHeartbeatTime": at, "lastTransitionTime": "2026-01-01T00:00:00Z",
		})
	}
	for n := range 50 { // kubelet's --node-status-max-images
		images = append(images, map[string]any{"sizeBytes": 100_000_000 + n, "names": []string{
			fmt.Sprintf("registry.example.com/team/image-%d@sha256:%064d", n, n), fmt.Sprintf("registry.example.com/team/image-%d:v1.2.3", n),
		}})
	}
	status := map[string]any{
		"capacity":    map[string]string{"cpu": "8", "memory": "32Gi", "pods": "110"},
		"allocatable": map[string]string{"cpu": "8", "memory": "31Gi", "pods": "110"},
		"addresses":   []any{map[string]string{"type": "InternalIP", "address": "192.0.2.1"}},
		"conditions":  conditions, "images": images,
		"nodeInfo": map[string]string{
			"architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "containerd://2.1.0", "kernelVersion": "6.12.0",
			"kubeletVersion": "v1.37.2", "machineID": "m", "operatingSystem": "linux", "osImage": "Debian GNU/Linux 13 (trixie)", "systemUUID": "s",
		},
	}
	return c.Do(ctx, http.MethodPatch, fmt.Sprintf("/api/v1/nodes/node-%d/status", i), map[string]any{"status": status}, nil)
}
