//go:build linux

package flannel

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"time"

	"routewatch/deploy/lab/process"
	"routewatch/shared/wire"
)

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

// StartExporter starts the node's exporter, which runs outside of the node's
// namespace and watches it, and returns when it has read both sides.
func (n *Node) StartExporter(ctx context.Context) error {
	if n.exporter != nil && !ended(n.exporter) {
		return nil
	}
	n.exporter = &process.Process{
		Path: n.cluster.opts.Exporter, Home: n.cluster.dir, Log: n.file("exporter.log"),
		Args: append(n.cluster.store.exporterArgs(),
			append([]string{
				"--node-name", n.Name, "--netns", n.NS.Path(), "--web.listen-address", "127.0.0.1:0",
			}, n.cluster.opts.ExporterFlags...)...),
	}
	if n.cluster.opts.NetConf {
		n.exporter.Args = append(n.exporter.Args, "--flannel.net-conf", n.cluster.netConfFile())
	}
	if err := n.outside.Start(n.exporter); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if n.ready(ctx) {
			return nil
		}
		select {
		case <-n.exporter.Ended():
			return fmt.Errorf("the exporter of %s ended; its last words:\n%s", n.Name, n.exporter.Tail())
		case <-ctx.Done():
			return fmt.Errorf("the exporter of %s is not ready (%w); its last words:\n%s", n.Name, ctx.Err(), n.exporter.Tail())
		case <-time.After(pollInterval):
		}
	}
}

// RestartExporter ends the exporter and starts it again, with no memory.
func (n *Node) RestartExporter(ctx context.Context) error {
	n.exporter.Stop()
	if err := os.Remove(n.exporter.Log); err != nil {
		return err
	}
	return n.StartExporter(ctx)
}

func (n *Node) ready(ctx context.Context) bool {
	log, err := os.ReadFile(n.exporter.Log)
	if err != nil {
		return false
	}
	m := listening.FindSubmatch(log)
	if m == nil {
		return false
	}
	n.url = "http://" + string(m[1])
	return n.get(ctx, "/-/ready", nil) == nil
}

// ExporterLog is the last lines that the exporter wrote.
func (n *Node) ExporterLog() string {
	if n.exporter == nil {
		return "(not started)"
	}
	return n.exporter.Tail()
}

// URL is that of the node's exporter; "" before it was started.
func (n *Node) URL() string { return n.url }

// Status asks the exporter for its status.
func (n *Node) Status(ctx context.Context) (s wire.NodeStatus, err error) {
	err = n.get(ctx, "/api/v1/status", &s)
	return s, err
}

// Leases asks the exporter for all leases as it judges them.
func (n *Node) Leases(ctx context.Context) ([]wire.Lease, error) {
	var list wire.LeaseList
	err := n.get(ctx, "/api/v1/leases?limit=5000", &list)
	return list.Items, err
}

func (n *Node) get(ctx context.Context, path string, into any) error {
	url := n.URL() + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %d: %s", url, resp.StatusCode, body)
	case into == nil:
		return nil
	}
	return json.Unmarshal(body, into)
}
