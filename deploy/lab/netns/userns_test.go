//go:build linux

package netns_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"routewatch/deploy/lab/netns"
)

const helper = "NETNS_TEST_HELPER"

// TestHelper is what runs in the user namespace in the tests below.
func TestHelper(t *testing.T) {
	if os.Getenv(helper) == "" {
		t.Skip("run by other tests")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	ns, err := netns.New()
	netns.Must(t, err)
	defer ns.Close()
	fmt.Println("pid", os.Getpid(), "namespace", namespace(t, "/proc/self/ns/net"))
	_, _ = io.Copy(os.Stderr, os.Stdin)
	if os.Getenv(helper) == "wait" {
		<-signals
	}
	os.Exit(7)
}

// startHelper runs this test binary's TestHelper without CAP_SYS_ADMIN, and
// returns once it has made a namespace.
func startHelper(t *testing.T, mode string) (cmd *exec.Cmd, pid int, namespace string) {
	t.Helper()
	netns.Require(t)
	cmd = exec.Command("/proc/self/exe", "-test.run=^TestHelper$")
	cmd.Env = append(os.Environ(), helper+"="+mode)
	cmd.Stdin = strings.NewReader("through stdin to stderr")
	cmd.Stderr = &strings.Builder{}
	out, err := cmd.StdoutPipe()
	netns.Must(t, err)
	netns.WithoutSysAdmin(t, cmd.Start)
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, scan := fmt.Sscanf(line, "pid %d namespace %s", &pid, &namespace); scan != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("the helper printed %q, %v", line, err)
	}
	return cmd, pid, namespace
}

func TestReexec_PassesTheExitCodeAndStreams(t *testing.T) {
	cmd, pid, ns := startHelper(t, "exit")
	if pid == cmd.Process.Pid {
		t.Error("it was not executed again")
	}
	if host := namespace(t, "/proc/self/ns/net"); ns != host {
		t.Errorf("it runs in the network namespace %s, want the host's %s", ns, host)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, want 7; stderr: %s", code, cmd.Stderr)
	}
	if got := fmt.Sprint(cmd.Stderr); got != "through stdin to stderr" {
		t.Errorf("stderr is %q", got)
	}
}

func TestReexec_PassesSignals(t *testing.T) {
	cmd, _, _ := startHelper(t, "wait")
	netns.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, want the 7 of a handled SIGTERM", code)
	}
}

func TestReexec_TellsThatTheProgramWasKilled(t *testing.T) {
	cmd, pid, _ := startHelper(t, "wait")
	netns.Must(t, syscall.Kill(pid, syscall.SIGKILL))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 128+int(syscall.SIGKILL) {
		t.Errorf("exit code %d, want 137", code)
	}
}

func TestReexec_DiesWithItsParent(t *testing.T) {
	cmd, pid, _ := startHelper(t, "wait")
	netns.Must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	waitFor(t, "the program to be killed with its parent", func() bool {
		return syscall.Kill(pid, 0) == syscall.ESRCH || zombie(pid)
	})
}

// zombie reports whether the process has ended but nobody waited for it.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

// A skip would hide that nothing was tested.
func TestRequire_FailsInCI(t *testing.T) {
	for _, variable := range []string{"CI", "ROUTEWATCH_REQUIRE_NETNS"} {
		t.Run(variable, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestNew_LoopbackIsUp$", "-test.v")
			// The mark of a process that was executed again: it does not try once more.
			cmd.Env = append(os.Environ(), "ROUTEWATCH_NETNS_REEXECUTED=1", "CI=", "ROUTEWATCH_REQUIRE_NETNS=", variable+"=true")
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			netns.Require(t)
			netns.WithoutSysAdmin(t, cmd.Start)
			if err := cmd.Wait(); err == nil || !strings.Contains(out.String(), "--- FAIL: TestNew_LoopbackIsUp") {
				t.Errorf("ended with %v and printed:\n%s\nwant a failed test", err, out.String())
			}
			if want := "sysctl -w user.max_user_namespaces"; !strings.Contains(out.String(), want) {
				t.Errorf("printed:\n%s\nwant it to say what to do: %q", out.String(), want)
			}
		})
	}
}
