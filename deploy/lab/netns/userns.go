//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// reexecuted marks the process that runs inside the user namespace.
const reexecuted = "ROUTEWATCH_NETNS_REEXECUTED"

// ErrForbidden says that this process may not make network namespaces, and
// what to do.
var ErrForbidden = errors.New(`network namespaces cannot be made here
Run as root, or let ordinary users have user namespaces:
  sysctl -w user.max_user_namespaces=10000
  sysctl -w kernel.unprivileged_userns_clone=1                # Debian's kernels
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # Ubuntu's
A container needs --privileged.`)

// Reexec returns at once in a process that may make network namespaces. In one
// that lacks CAP_SYS_ADMIN it runs the same program once more as root of a new
// user namespace, passes signals to it, and exits with its exit code; it then
// returns only on failure, with ErrForbidden. The program stays in the host's
// network namespace, so what listens on loopback there is reachable. In a
// terminal the program may see Ctrl-C twice.
func Reexec() error {
	inside := os.Getenv(reexecuted) != ""
	if err := os.Unsetenv(reexecuted); err != nil {
		return err
	}
	switch {
	case hasSysAdmin():
		return nil
	case inside:
		return ErrForbidden
	}
	code, err := runInUserNamespace()
	if err != nil {
		return fmt.Errorf("%w\nThe kernel says: %w", ErrForbidden, err)
	}
	os.Exit(code)
	return nil
}

// runInUserNamespace returns the exit code of a second run of this program.
func runInUserNamespace() (int, error) {
	runtime.LockOSThread() // Pdeathsig is sent when the thread that forked ends, not the process
	defer runtime.UnlockOSThread()

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), reexecuted+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		return 0, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil // as a shell says it
	}
	return cmd.ProcessState.ExitCode(), nil
}

// InUserNamespace reports whether this process is in a user namespace of its
// own, as after Reexec. The kernel hides some sysctls there (net.ipv6.route.*),
// and other users do not exist.
func InUserNamespace() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(string(ids)), []string{"0", "0", "4294967295"})
}

// hasSysAdmin reports whether CAP_SYS_ADMIN is in this thread's effective set.
func hasSysAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
