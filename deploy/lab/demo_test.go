//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
)

// buildPrograms builds what `make build` does.
func buildPrograms(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, pkg := range map[string]string{"routewatch-exporter": "routewatch/exporter", "routewatch": "routewatch/cli", "routewatch-lab": "routewatch/deploy/lab"} {
		out, err := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, name), pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	return dir
}

// The demo shows what it must, with the rights of these tests and with those
// of an ordinary user; and it leaves nothing behind, not even after kill -9.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the programs")
	}
	netns.Require(t)
	programs := buildPrograms(t)
	as := map[string]func(func() error){
		"these rights":  func(start func() error) { netns.Must(t, start()) },
		"ordinary user": func(start func() error) { netns.WithoutSysAdmin(t, start) },
	}
	for name, start := range as {
		t.Run("shows/"+name, func(t *testing.T) {
			cmd, tmp := demoCommand(t, programs)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			start(cmd.Start)
			if err := cmd.Wait(); err != nil {
				t.Fatalf("the demo ended with %v:\n%s", err, out.String())
			}
			for _, act := range []string{"1. All is well", "2. flannel.1 of node-1", "3. Somebody puts the routes back", "4. Somebody types"} {
				if !strings.Contains(out.String(), "\n== "+act) {
					t.Errorf("act %q was not shown:\n%s", act, out.String())
				}
			}
			waitUntilGone(t, tmp)
		})
		t.Run("interrupted/"+name, func(t *testing.T) {
			cmd, tmp := demoCommand(t, programs)
			start(cmd.Start)
			waitFor(t, "all exporters to run", func() bool { return len(running(tmp)) >= nodeCount })
			netns.Must(t, cmd.Process.Signal(syscall.SIGTERM))
			if err := cmd.Wait(); err == nil {
				t.Error("the exit code is 0, though not every act was shown")
			}
			waitUntilGone(t, tmp)
		})
		t.Run("killed/"+name, func(t *testing.T) {
			cmd, tmp := demoCommand(t, programs)
			start(cmd.Start)
			waitFor(t, "all exporters to run", func() bool { return len(running(tmp)) >= nodeCount })
			netns.Must(t, cmd.Process.Kill())
			_ = cmd.Wait()
			waitUntilGone(t, tmp)
		})
	}
}

// demoCommand returns the demo and the directory that holds all its files.
func demoCommand(t *testing.T, programs string) (cmd *exec.Cmd, tmp string) {
	t.Helper()
	tmp = t.TempDir()
	cmd = exec.Command(filepath.Join(programs, "routewatch-lab"), "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	return cmd, tmp
}

// running returns the processes that were told of the directory.
func running(tmp string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	return slices.DeleteFunc(files, func(file string) bool {
		b, err := os.ReadFile(file)
		return err != nil || !strings.Contains(string(b), tmp)
	})
}

func waitUntilGone(t *testing.T, tmp string) {
	t.Helper()
	waitFor(t, "all processes to end and all files to go", func() bool {
		entries, err := os.ReadDir(tmp)
		return err == nil && len(entries) == 0 && len(running(tmp)) == 0
	})
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}
