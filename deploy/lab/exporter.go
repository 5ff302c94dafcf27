//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"routewatch/shared/wire"
)

const (
	// preferredPort is the port of node-1's exporter, and so on; another one if it is taken.
	preferredPort = 10101
	readyTimeout  = 15 * time.Second
	stopTimeout   = 3 * time.Second
	pollInterval  = 5 * time.Millisecond
	tailLines     = 8
)

type exporterConfig struct {
	node, leases, netns string
	port                int
	log                 string // file for what it prints
}

// exporter is a running routewatch-exporter.
type exporter struct {
	config exporterConfig
	url    string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has ended
}

// startExporter must be called on the main goroutine: see main.
func startExporter(program string, c exporterConfig) (*exporter, error) {
	address, err := freeAddress(c.port)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own copy
	e := &exporter{config: c, url: "http://" + address, ended: make(chan struct{})}
	e.cmd = exec.Command(program, "--node-name", c.node, "--leases", "file", "--leases.file", c.leases,
		"--netns", c.netns, "--web.listen-address", address)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the exporter of %s: %w", c.node, err)
	}
	go func() {
		_ = e.cmd.Wait() // the log says why
		close(e.ended)
	}()
	return e, nil
}

// freeAddress returns the preferred port on loopback, or any that is free.
func freeAddress(port int) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// waitReady waits until the exporter has read its leases and the kernel.
func (e *exporter) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if code, _, err := e.get(ctx, "/-/ready"); err == nil && code == http.StatusOK {
			return nil
		}
		select {
		case <-e.ended:
			return fmt.Errorf("the exporter of %s ended; its last words:\n%s", e.config.node, e.tail())
		case <-ctx.Done():
			return fmt.Errorf("the exporter of %s is not ready (%w); its last words:\n%s", e.config.node, ctx.Err(), e.tail())
		case <-time.After(pollInterval):
		}
	}
}

// status asks for /api/v1/status.
func (e *exporter) status(ctx context.Context) (*wire.NodeStatus, error) {
	code, body, err := e.get(ctx, "/api/v1/status")
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, fmt.Errorf("%s/api/v1/status answers %d: %s", e.url, code, body)
	}
	s := &wire.NodeStatus{}
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("%s/api/v1/status: %w", e.url, err)
	}
	return s, nil
}

func (e *exporter) get(ctx context.Context, path string) (code int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(res.Body)
	return res.StatusCode, b.Bytes(), err
}

// tail returns the last lines that the exporter printed.
func (e *exporter) tail() string {
	b, err := os.ReadFile(e.config.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}

// terminate asks the exporter to end.
func (e *exporter) terminate() { _ = e.cmd.Process.Signal(syscall.SIGTERM) }

// wait waits for its end, and kills it if that takes long.
func (e *exporter) wait() {
	select {
	case <-e.ended:
	case <-time.After(stopTimeout):
		_ = e.cmd.Process.Kill()
		<-e.ended
	}
}
