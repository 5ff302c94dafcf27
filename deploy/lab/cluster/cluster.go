//go:build linux

// Package cluster runs a real Kubernetes control plane on loopback for tests:
// etcd and kube-apiserver, and if asked for the controller manager, the
// scheduler, and kwok in place of the kubelets. `make parts` builds them.
//
//	func TestNodes(t *testing.T) {
//		c := cluster.StartT(t, cluster.Config{})
//		c.MustKubectl(t, "apply", "-f", "deploy/base/rbac.yaml")
//		...
//	}
//
// Everything is in one temporary directory, and the programs end with this
// process, however it ends.
//
//	cluster      Start StartT Close
//	requests     Kubectl KubectlIn MustKubectl Do As DeleteFromEtcd
//	credentials  AdminKubeconfig CA TokenKubeconfig Token ShortToken
//	API server   Kill Restart Pause Resume
package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"routewatch/deploy/lab/process"
)

// Config says what runs besides etcd and the API server.
type Config struct {
	// Controllers: the controller manager, the scheduler, and kwok, which plays
	// the kubelet of every Node that has the annotation KwokNode.
	Controllers bool
	// Proxy is the URL of an HTTP proxy through which the API server reaches pods
	// and kubelets; see package podnet.
	Proxy string
}

// KwokNode is the annotation, with the value "fake", of a Node that kwok plays.
const KwokNode = "kwok.x-k8s.io/node"

const (
	readyTimeout = 2 * time.Minute // seconds where nothing else runs
	pollInterval = 20 * time.Millisecond
)

// Cluster is a running control plane.
type Cluster struct {
	*Client // the administrator

	etcdURL   string
	dir       string
	proxy     string // see Config
	pki       *pki
	launcher  *process.Launcher
	etcd      *process.Process
	apiserver *process.Process
	others    []*process.Process
}

// Start starts a control plane and returns when its API server is ready.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "routewatch-cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, launcher: process.NewLauncher()}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := c.start(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("start a control plane: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, cfg Config) (err error) {
	if c.pki, err = newPKI(c.dir); err != nil {
		return err
	}
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return err
	}
	c.Client = &Client{
		URL:  fmt.Sprintf("https://127.0.0.1:%d", ports[2]),
		http: c.pki.client([]tls.Certificate{c.pki.admin}),
	}
	if err := c.writeKubeconfig(c.AdminKubeconfig(), c.pki.adminUser()); err != nil {
		return err
	}
	c.etcdURL = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	if c.etcd, err = c.run("etcd", etcdArgs(c.dir, c.etcdURL, ports[1])...); err != nil {
		return err
	}
	// The API server waits for etcd by itself. It never asks a proxy for what is on loopback.
	c.proxy = cfg.Proxy
	if c.apiserver, err = c.run("kube-apiserver", apiserverArgs(c.dir, c.etcdURL, ports[2])...); err != nil {
		return err
	}
	if err := c.waitReady(ctx); err != nil || !cfg.Controllers {
		return err
	}
	programs, err := controllers(c.AdminKubeconfig())
	if err != nil {
		return err
	}
	for name, args := range programs {
		p, err := c.run(name, args...)
		if err != nil {
			return err
		}
		c.others = append(c.others, p)
	}
	return nil
}

// run starts one of the programs.
func (c *Cluster) run(name string, args ...string) (*process.Process, error) {
	path, err := Part(name)
	if err != nil {
		return nil, err
	}
	p := &process.Process{Path: path, Args: args, Log: filepath.Join(c.dir, name+".log"), Home: c.dir}
	if name == "kube-apiserver" && c.proxy != "" {
		p.Env = []string{"HTTP_PROXY=" + c.proxy, "HTTPS_PROXY=" + c.proxy}
	}
	return p, c.launcher.Start(p)
}

// waitReady waits until the API server says that it is.
func (c *Cluster) waitReady(ctx context.Context) error {
	for {
		code, body, err := c.send(ctx, http.MethodGet, "/readyz?verbose", nil)
		switch {
		case err == nil && code == http.StatusOK:
			return nil
		case err == nil:
			err = newError(code, body)
		}
		select {
		case <-c.etcd.Ended():
			return fmt.Errorf("etcd ended; its last words:\n%s", c.etcd.Tail())
		case <-c.apiserver.Ended():
			return fmt.Errorf("kube-apiserver ended; its last words:\n%s", c.apiserver.Tail())
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready: %w: %w; its last words:\n%s", ctx.Err(), err, c.apiserver.Tail())
		case <-time.After(pollInterval):
		}
	}
}

// PID is that of the API server.
func (c *Cluster) PID() int { return c.apiserver.PID() }

// Kill ends the API server as the kernel does when memory is short.
func (c *Cluster) Kill() { c.apiserver.Kill() }

// Restart starts the API server again, on the same port, and returns when it
// is ready.
func (c *Cluster) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	c.apiserver.Kill()
	if err := c.launcher.Start(c.apiserver); err != nil {
		return err
	}
	return c.waitReady(ctx)
}

// CompactEtcd has the API server's etcd forget every revision but the present one.
func (c *Cluster) CompactEtcd(ctx context.Context) error {
	return (&Etcd{URL: c.etcdURL, http: http.DefaultClient}).Compact(ctx)
}

// Pause stops the API server in its tracks: connections stay, and nobody answers.
func (c *Cluster) Pause() error { return c.apiserver.Pause() }

// Resume lets it go on.
func (c *Cluster) Resume() error { return c.apiserver.Resume() }

// Close ends everything and removes the directory.
func (c *Cluster) Close() error {
	// etcd last: without it the API server hangs when it stops.
	for _, p := range append(c.others, c.apiserver, c.etcd) {
		if p != nil {
			p.Stop()
		}
	}
	c.launcher.Close()
	if c.Client != nil {
		c.http.CloseIdleConnections()
	}
	return os.RemoveAll(c.dir)
}
