//go:build linux

// Package process runs the programs of the lab, in its network namespaces or
// outside of them. They end with this process, however it ends.
package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"routewatch/deploy/lab/netns"
)

const (
	// tailLines is how much of a log is shown when its program fails.
	tailLines   = 15
	stopTimeout = 10 * time.Second
)

// Process is a program that can be started again.
type Process struct {
	Path string
	Args []string
	Env  []string // NAME=VALUE, besides those that Environment gives
	Log  string   // file that it writes to; it grows with each start
	Home string   // directory

	cmd   *exec.Cmd
	ended chan struct{}
}

// Launcher starts programs on one OS thread that lives until Close. They are
// killed when the thread ends that started them (Pdeathsig), not the process;
// and a test that enters a network namespace ends threads.
type Launcher struct{ do chan func() }

// NewLauncher returns one that starts programs where this process is.
func NewLauncher() *Launcher {
	l := &Launcher{do: make(chan func())}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		l.serve()
	}()
	return l
}

// Inside returns one that starts programs in a network namespace, which lives
// on until Close.
func Inside(ns *netns.NS) (*Launcher, error) {
	l := &Launcher{do: make(chan func())}
	entered := make(chan error, 1)
	go func() {
		entered <- ns.Do(func() error {
			entered <- nil
			l.serve()
			return nil
		})
	}()
	return l, <-entered
}

func (l *Launcher) serve() {
	for f := range l.do {
		f()
	}
}

// Close kills what was started here and still runs.
func (l *Launcher) Close() { close(l.do) }

// Start starts a process that does not run.
func (l *Launcher) Start(p *Process) error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = p.Home
	cmd.Env = append(Environment(p.Home), p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	l.do <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.Path, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		_ = cmd.Wait() // the log says why
		close(ended)
	}()
	return nil
}

// Environment keeps the programs away from the user's own clusters, and from a
// proxy.
func Environment(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home}
}

// Stop asks the program to end, and kills it if that takes long.
func (p *Process) Stop() {
	if p.cmd == nil {
		return
	}
	_ = p.Resume() // a stopped one would not hear it
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.Kill()
	}
}

// Kill ends the program as the kernel does when memory is short.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// Ended is closed when the program that was started last has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// PID is that of the program that was started last.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Pause stops the program in its tracks.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Tail returns the last lines of the log.
func (p *Process) Tail() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}
