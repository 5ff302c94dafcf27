// Package e2e holds the real exporter and the real CLI, as built programs,
// against a real kernel: one node in a network namespace whose state matches a
// NodeList that a real API server printed.
package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/topology"
	"routewatch/shared/lease"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// nodesFile is what kubectl printed; see the README beside it.
const nodesFile = "../../../shared/lease/testdata/nodes-real.json"

// programs is where build puts them.
var programs string

func TestMain(m *testing.M) {
	if err := netns.Reexec(); err != nil {
		fmt.Fprintln(os.Stderr, "netns:", err)
	}
	dir, err := os.MkdirTemp("", "routewatch-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// build compiles both programs once a run.
var build = sync.OnceValue(func() error {
	for name, pkg := range map[string]string{"routewatch-exporter": "routewatch/exporter", "routewatch": "routewatch/cli"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(programs, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
})

// node is the node under test, with the programs that watch it.
type node struct {
	*topology.Node
	file  string // the lease file, a copy that a test may change
	url   string // of the exporter, once it runs
	pid   int    // of the exporter
	log   *logs
	peers []lease.Lease
}

// newNode brings up node-1 of the NodeList as flannel leaves it.
func newNode(t *testing.T) *node {
	t.Helper()
	netns.Require(t)
	netns.Must(t, build())
	nodes, err := os.ReadFile(nodesFile)
	netns.Must(t, err)
	set, err := lease.Read(strings.NewReader(string(nodes)), lease.Options{Self: "node-1"})
	netns.Must(t, err)
	n := &node{
		Node: topology.Single(t, &set), log: &logs{},
		file: filepath.Join(t.TempDir(), "nodes.json"), peers: set.Leases,
	}
	netns.Must(t, os.WriteFile(n.file, nodes, 0o600))
	return n
}

// start runs the exporter on the lease file until the test ends, and then
// demands a clean stop.
func (n *node) start(t *testing.T, args ...string) {
	t.Helper()
	n.run(t, append([]string{"--leases.file", n.file}, args...)...)
}

// run is start with a lease source that the arguments name.
func (n *node) run(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "routewatch-exporter"), append([]string{
		"--node-name", "node-1", "--netns", n.NS.Path(), "--web.listen-address", "127.0.0.1:0",
	}, args...)...)
	n.supervise(t, cmd, cmd.Start)
}

// supervise starts the exporter and returns when it listens.
func (n *node) supervise(t *testing.T, cmd *exec.Cmd, start func() error) {
	t.Helper()
	out, err := cmd.StderrPipe()
	netns.Must(t, err)
	netns.Must(t, start())
	n.pid = cmd.Process.Pid
	address := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		n.log.follow(out, address)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("exporter did not stop cleanly: %v", err)
		}
		if t.Failed() {
			t.Logf("the exporter's log:\n%s", n.log)
		}
	})
	select {
	case a := <-address:
		n.url = "http://" + a
	case <-time.After(10 * time.Second):
		t.Fatalf("the exporter does not listen; its log:\n%s", n.log)
	}
}

// logs keeps what a program writes.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

func (l *logs) follow(r io.Reader, address chan<- string) {
	for s := bufio.NewScanner(r); s.Scan(); {
		l.mu.Lock()
		l.text.WriteString(s.Text() + "\n")
		l.mu.Unlock()
		if m := listening.FindStringSubmatch(s.Text()); m != nil {
			address <- m[1]
		}
	}
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (n *node) get(path string) (int, string, error) {
	resp, err := http.Get(n.url + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func (n *node) status(t *testing.T) wire.NodeStatus {
	t.Helper()
	code, body, err := n.get("/api/v1/status")
	if err != nil || code != http.StatusOK {
		t.Fatalf("status: %d %v %s", code, err, body)
	}
	var s wire.NodeStatus
	netns.Must(t, json.Unmarshal([]byte(body), &s))
	return s
}

// metric returns a sample of /metrics by its full name with labels.
func (n *node) metric(t *testing.T, series string) string {
	t.Helper()
	_, body, err := n.get("/metrics")
	netns.Must(t, err)
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "absent"
}

// cli runs routewatch against the exporter.
func (n *node) cli(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "routewatch"), append(args, "--exporter", n.url)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// startup is how long the exporter may take from its start to its first verdict.
const startup = 5 * time.Second

// eventually waits until the condition holds, and gives it no longer than a
// second: what routewatch promises.
func eventually(t *testing.T, what string, condition func() bool) time.Duration {
	t.Helper()
	return within(t, time.Second, what, condition)
}

func within(t *testing.T, limit time.Duration, what string, condition func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		took := time.Since(start)
		if condition() {
			return took
		}
		if took > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// verdictOf summarizes a lease for comparison.
type verdictOf struct {
	State  verdict.State
	Effect verdict.Effect
	Cause  verdict.Cause
}

// problems returns the bad and unknown leases by subnet.
func (n *node) problems(t *testing.T) map[string]verdictOf {
	t.Helper()
	m := map[string]verdictOf{}
	for _, p := range n.status(t).Problems {
		m[p.Lease.String()] = verdictOf{p.State, p.Effect, p.Cause}
	}
	return m
}

// once runs the exporter with --once.
func (n *node) once(t *testing.T, code int, readable bool) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "routewatch-exporter"),
		"--once", "--node-name", "node-1", "--leases.file", n.file, "--netns", n.NS.Path())
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("--once: exit code %d, want %d\n%s", got, code, out)
	}
	var s wire.NodeStatus
	if err := json.Unmarshal(out, &s); err != nil || s.Complete != readable {
		t.Errorf("--once printed %s (%v), want a status with complete %v", out, err, readable)
	}
}
