//go:build linux

package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// tailLines is how much of a log is shown when its program fails.
const tailLines = 15

// process is a program that can be started again.
type process struct {
	path string
	args []string
	log  string // file that it writes to
	home string

	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
}

// launcher starts programs on one OS thread that lives until close. They are
// killed when the thread ends that started them (Pdeathsig), not the process;
// and a test that enters a network namespace ends threads.
type launcher struct{ do chan func() }

func newLauncher() *launcher {
	l := &launcher{do: make(chan func())}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		for f := range l.do {
			f()
		}
	}()
	return l
}

func (l *launcher) close() { close(l.do) }

// start starts p, whose log grows if it ran before.
func (l *launcher) start(p *process) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = p.home
	cmd.Env = environment(p.home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	l.do <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.path, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		_ = cmd.Wait() // the log says why
		close(ended)
	}()
	return nil
}

// environment keeps the programs away from the user's own clusters, and from a
// proxy.
func environment(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home}
}

// stop asks the program to end, and kills it if that takes long.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.resume() // a stopped one would not hear it
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.kill()
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

func (p *process) pause() error  { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// tail returns the last lines of the log.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n")))
}
