//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/version"

	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/topology"
	"routewatch/shared/lease"
	"routewatch/shared/wire"
)

// beMain makes this test binary be the exporter.
const beMain = "ROUTEWATCH_EXPORTER_TEST_MAIN"

// testVersion is that exporter's, where the linker would stamp it.
const testVersion = "v1.4.0"

// patience is how long a test waits for what should take milliseconds.
const patience = 10 * time.Second

// nodesFile is what kubectl printed; see the README beside it.
const nodesFile = "../shared/lease/testdata/nodes-real.json"

func TestMain(m *testing.M) {
	if os.Getenv(beMain) != "" {
		version.Version = testVersion
		main()
	}
	netns.Main(m)
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = program
	cmd.Env = append(os.Environ(), beMain+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// result runs the exporter to its end.
func result(t *testing.T, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Run(); e != nil && cmd.ProcessState == nil {
		t.Fatal(e)
	}
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// daemon is an exporter that runs.
type daemon struct {
	cmd    *exec.Cmd
	urls   []string
	exited chan struct{}

	mu  sync.Mutex
	log strings.Builder
}

// startDaemon runs the exporter and waits until it listens on so many addresses.
func startDaemon(t *testing.T, addresses int, args ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: command(append(args, "--log.format", "json")...), exited: make(chan struct{})}
	stderr, err := d.cmd.StderrPipe()
	netns.Must(t, err)
	netns.Must(t, d.cmd.Start())
	urls := make(chan string, addresses)
	go func() {
		defer close(d.exited)
		d.follow(stderr, urls)
		_ = d.cmd.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.exited
		if t.Failed() {
			t.Logf("the exporter's log:\n%s", d.logged())
		}
	})
	for range addresses {
		select {
		case url := <-urls:
			d.urls = append(d.urls, url)
		case <-d.exited:
			t.Fatalf("the exporter ended: %s", d.logged())
		case <-time.After(patience):
			t.Fatalf("the exporter does not listen: %s", d.logged())
		}
	}
	return d
}

func (d *daemon) follow(stderr io.Reader, urls chan<- string) {
	for s := bufio.NewScanner(stderr); s.Scan(); {
		d.mu.Lock()
		d.log.WriteString(s.Text() + "\n")
		d.mu.Unlock()
		var line struct{ Msg, Address string }
		if json.Unmarshal(s.Bytes(), &line) == nil && line.Msg == "listening" {
			urls <- "http://" + line.Address
		}
	}
}

func (d *daemon) logged() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// get returns code 0 if nobody answers.
func (d *daemon) get(path string) (code int, body string) {
	r, err := http.Get(d.urls[0] + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(b)
}

func (d *daemon) status(t *testing.T) wire.NodeStatus {
	t.Helper()
	code, body := d.get("/api/v1/status")
	var s wire.NodeStatus
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != 200 || s.Version != testVersion {
		t.Fatalf("status: %d %v %s", code, err, body)
	}
	return s
}

// await waits until the status is as wanted.
func (d *daemon) await(t *testing.T, what string, is func(wire.NodeStatus) bool) wire.NodeStatus {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		s := d.status(t)
		if is(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s within %s: %+v", what, patience, s)
		}
	}
}

func (d *daemon) awaitHealthy(t *testing.T) wire.NodeStatus {
	t.Helper()
	return d.await(t, "healthy", func(s wire.NodeStatus) bool { return s.Healthy })
}

// terminate asks the exporter to stop and returns its exit code and how long it took.
func (d *daemon) terminate(t *testing.T) (int, time.Duration) {
	t.Helper()
	began := time.Now()
	netns.Must(t, d.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-d.exited:
	case <-time.After(patience):
		t.Fatalf("the exporter does not stop within %s", patience)
	}
	return d.cmd.ProcessState.ExitCode(), time.Since(began)
}

// node makes the node that the lease file is about, as flannel leaves it, and a
// copy of the file.
func node(t *testing.T) (ns *netns.NS, file string) {
	t.Helper()
	netns.Require(t)
	nodes, err := os.ReadFile(nodesFile)
	netns.Must(t, err)
	set, err := lease.Read(bytes.NewReader(nodes), lease.Options{Self: "node-1"})
	netns.Must(t, err)
	file = filepath.Join(t.TempDir(), "nodes.json")
	netns.Must(t, os.WriteFile(file, nodes, 0o600))
	return topology.Single(t, &set).NS, file
}

func flagsOf(ns *netns.NS, file string) []string {
	return []string{"--node-name", "node-1", "--leases.file", file, "--netns", ns.Path(), "--web.listen-address", "127.0.0.1:0"}
}
