//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a contestant may take for one step.
const patience = 2 * time.Minute

// children are what a child process can do. They say "ready" once they are, if
// they wait for something, and print what they measured as JSON.
var children = map[string]func(args []string) error{
	"dump-routewatch": dumpRoutewatch, "dump-mdlayher": dumpMdlayher,
	"dump-jsimonetti": dumpJsimonetti, "dump-vishvananda": dumpVishvananda,
	"storm-routewatch": stormRoutewatch, "storm-mdlayher": stormMdlayher,
	"storm-jsimonetti": stormJsimonetti, "storm-vishvananda": stormVishvananda,
	"pipeline": pipeline,
}

func child(name string, args []string) error {
	run, ok := children[name]
	if !ok {
		return fmt.Errorf("no child %q", name)
	}
	return run(args)
}

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// start starts a command; if inside is not "", in that network namespace.
func start(inside string, command ...string) (*process, error) {
	if inside != "" {
		command = append([]string{"nsenter", "--net=" + inside}, command...)
	}
	p := &process{cmd: exec.Command(command[0], command[1:]...)}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func startChild(inside, name string, args ...string) (*process, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(inside, append([]string{own, "child", name}, args...)...)
}

// line reads the next line.
func (p *process) line() (string, error) {
	type result struct {
		line string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		line, err := p.lines.ReadString('\n')
		got <- result{strings.TrimSpace(line), err}
	}()
	select {
	case r := <-got:
		return r.line, r.err
	case <-time.After(patience):
		p.kill()
		return "", fmt.Errorf("%s: nothing for %s", p.cmd.Args, patience)
	}
}

func (p *process) ready() error {
	line, err := p.line()
	if err == nil && line != "ready" {
		err = fmt.Errorf("%s: %q instead of ready", p.cmd.Args, line)
	}
	return err
}

// figures reads what the child measured, and waits for its end.
func (p *process) figures() (figures, error) {
	line, err := p.line()
	if err != nil {
		return nil, errors.Join(err, p.cmd.Wait())
	}
	var f figures
	if err := json.Unmarshal([]byte(line), &f); err != nil {
		return nil, fmt.Errorf("%s: %q: %w", p.cmd.Args, line, err)
	}
	return f, p.cmd.Wait()
}

// kill ends the child.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// report prints what a child measured.
func report(f figures) error { return json.NewEncoder(os.Stdout).Encode(f) }

func ready() { fmt.Println("ready") }

// cpuSeconds is the CPU time of this process so far.
func cpuSeconds() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return seconds(u.Utime) + seconds(u.Stime)
}

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// mallocs is how many objects this process has allocated so far.
func mallocs() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Mallocs)
}

// percentile is the p-th of a list, p being from 0 to 1.
func percentile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}
