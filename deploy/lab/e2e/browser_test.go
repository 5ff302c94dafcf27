//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
)

// browser is a real one, which testdata/page.mjs drives.
type browser struct {
	in    io.Writer
	lines *bufio.Scanner
}

// startBrowser starts it until the test ends. That there is none is a failure.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	if os.Getenv("ROUTEWATCH_BROWSER") == "" {
		t.Fatal("ROUTEWATCH_BROWSER is not set, which names the folder that drives a browser; type: make e2e TESTFLAGS='-run TestCluster_Page'")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v; type: make browser", err)
	}
	cmd := exec.Command("node", "testdata/page.mjs")
	cmd.Env = append(os.Environ(), "ROUTEWATCH_CHROMIUM="+chromium, "ROUTEWATCH_PROFILE="+t.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	netns.Must(t, err)
	out, err := cmd.StdoutPipe()
	netns.Must(t, err)
	netns.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close() // it ends with its input
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("page.mjs: %v", err)
		}
	})
	b := &browser{in, bufio.NewScanner(out)}
	b.lines.Buffer(nil, 8<<20)
	return b
}

// with are the arguments of a step.
type with map[string]any

// do runs a step and stores what it gives in result, unless that is nil.
func (b *browser) do(t *testing.T, step string, args with, result any) {
	t.Helper()
	line := with{"step": step}
	for k, v := range args {
		line[k] = v
	}
	netns.Must(t, json.NewEncoder(b.in).Encode(line))
	if !b.lines.Scan() {
		t.Fatalf("%s: the browser's driver is gone: %v", step, b.lines.Err())
	}
	var answer struct {
		Result json.RawMessage
		Error  string
	}
	netns.Must(t, json.Unmarshal(b.lines.Bytes(), &answer))
	if answer.Error != "" {
		t.Fatal(answer.Error)
	}
	if result != nil {
		netns.Must(t, json.Unmarshal(answer.Result, result))
	}
}

// until waits until the page's verdict is of a kind, and returns how long after
// start the page came to it.
func (b *browser) until(t *testing.T, kind string, start time.Time, limit time.Duration) time.Duration {
	t.Helper()
	var at int64
	b.do(t, "until", with{"kind": kind, "limit": limit.Milliseconds()}, &at)
	took := time.UnixMilli(at).Sub(start)
	if took > limit {
		t.Errorf("the page is %s after %s, want at most %s", kind, took, limit)
	}
	return took
}

// quiet demands that the browser's console has nothing to complain of, such as
// what the page's policy forbids.
func (b *browser) quiet(t *testing.T) {
	t.Helper()
	var complaints []string
	b.do(t, "complaints", nil, &complaints)
	if len(complaints) > 0 {
		t.Errorf("the browser's console has %q", complaints)
	}
}

// shot writes a picture from an element downward, for `make screenshots` alone.
func (b *browser) shot(t *testing.T, name, top string) {
	t.Helper()
	if dir := os.Getenv("ROUTEWATCH_SCREENSHOTS"); dir != "" {
		b.do(t, "shot", with{"path": filepath.Join(dir, name+".png"), "top": top}, nil)
	}
}
