//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The cluster of TestStatus_Thousand.
const (
	manyNodes   = 1000
	hangEvery   = 20 // that is 50 nodes
	manyTimeout = 5 * time.Second
)

// TestStatus_Thousand: of 1,000 exporters, each with 100 problems, 50 hang. The
// answer comes all the same, says who did not answer, and costs no more time
// than a timeout, and memory in proportion to what was answered.
func TestStatus_Thousand(t *testing.T) {
	document, err := os.ReadFile("testdata/documents/many.json")
	if err != nil {
		t.Fatal(err)
	}
	document = bytes.Replace(document, []byte(`"node": "node-1"`), []byte(`"node": "NODE"`), 1)
	if !bytes.Contains(document, []byte("NODE")) {
		t.Fatal("the document names no node")
	}
	dir := t.TempDir()
	// The program as it is shipped: the race detector takes ten times the time and memory.
	program := filepath.Join(dir, "routewatch")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var nodes, hanging []string
	for i := range manyNodes {
		node := fmt.Sprintf("node-%04d", i)
		nodes = append(nodes, node)
		if i%hangEvery == 0 {
			hanging = append(hanging, node)
		}
	}
	cluster := func(nodes, hanging []string) (kubeconfigFile string) {
		a := &apiServer{nodes: nodes, hang: hanging, status: document}
		server := httptest.NewServer(http.HandlerFunc(a.ServeHTTP))
		t.Cleanup(func() {
			server.CloseClientConnections()
			server.Close()
		})
		file := filepath.Join(dir, fmt.Sprintf("kubeconfig-%d-%d", len(nodes), len(hanging)))
		if err := os.WriteFile(file, kubeconfig(server.URL), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	well := runMeasured(t, program, 1, "--kubeconfig", cluster(nodes, nil))
	table := runMeasured(t, program, 2, "-o", "wide", "--kubeconfig", cluster(nodes, hanging))
	answers := int64(manyNodes * len(document))
	t.Logf("1,000 answers of together %d MB: %v, %d MB of memory; 50 of them hang: %v, %d MB",
		answers>>20, well.took, well.rss>>20, table.took, table.rss>>20)
	if !strings.Contains(table.out, "950 with problems, 50 without an answer") {
		t.Errorf("the head does not say who did not answer:\n%s", table.out[:min(len(table.out), 2000)])
	}
	if limit := 3*well.took + 2*manyTimeout; table.took > limit {
		t.Errorf("with 50 hanging it took %v, want at most %v: three times the %v without them and two timeouts", table.took, limit, well.took)
	}
	for _, m := range []measured{well, table} {
		if limit := 4 * answers; m.rss > limit {
			t.Errorf("%d MB of memory, want at most four times the %d MB of the answers", m.rss>>20, answers>>20)
		}
	}
	var mute []string
	for line := range strings.Lines(table.out) {
		if words := strings.Fields(line); len(words) > 2 && words[1] == "NO" && words[2] == "ANSWER" {
			mute = append(mute, words[0])
		}
	}
	if !slices.Equal(mute, hanging) {
		t.Errorf("without an answer are %v, want %v", mute, hanging)
	}
}

type measured struct {
	out  string
	took time.Duration
	rss  int64 // bytes at most
}

// runMeasured looks at the program's memory while it runs: what the kernel counts
// for a process that has ended (ru_maxrss) begins with that of who started it.
func runMeasured(t *testing.T, program string, code int, args ...string) measured {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"status", "--timeout", manyTimeout.String()}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, peak := make(chan struct{}), make(chan int64)
	go func() {
		var most int64
		defer func() { peak <- most }()
		for {
			most = max(most, residentPeak(cmd.Process.Pid))
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	err := cmd.Wait()
	m := measured{out: stdout.String(), took: time.Since(start)}
	close(ended)
	m.rss = <-peak
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v: exit code %d, want %d; %s", args, got, code, stderr.String())
	}
	if m.rss == 0 {
		t.Fatal("the program's memory was never seen")
	}
	return m
}

// residentPeak is the most memory that a process had so far, in bytes; 0 if it is gone.
func residentPeak(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int64
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		return 0
	}
	return kilobytes << 10
}
