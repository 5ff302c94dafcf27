//go:build linux

package netns

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Main is the TestMain of a package that needs namespaces: it enters a user
// namespace where it must, runs the tests, and exits. Where that is forbidden
// the tests run anyway, and Require tells those that need a namespace.
func Main(m *testing.M) {
	if err := Reexec(); err != nil {
		fmt.Fprintln(os.Stderr, "netns:", err)
	}
	os.Exit(m.Run())
}

// Require skips the test where namespaces cannot be made. It fails the test
// instead if CI or ROUTEWATCH_REQUIRE_NETNS is set: there, a skip would hide
// that nothing was tested.
func Require(tb testing.TB) {
	tb.Helper()
	ns, err := New()
	if err == nil {
		ns.Close()
		return
	}
	if os.Getenv("CI") != "" || os.Getenv("ROUTEWATCH_REQUIRE_NETNS") != "" {
		tb.Fatal(err)
	}
	tb.Skip(err)
}

// NewT makes a namespace that lives as long as the test, or ends the test as
// Require does.
func NewT(tb testing.TB) *NS {
	tb.Helper()
	Require(tb)
	ns, err := New()
	Must(tb, err)
	tb.Cleanup(ns.Close)
	return ns
}

// Must ends the test if err is set.
func Must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// MustIndex returns the index of a device, or ends the test.
func (ns *NS) MustIndex(tb testing.TB, name string) int {
	tb.Helper()
	index, err := ns.LinkIndex(name)
	Must(tb, err)
	return index
}

// WithoutSysAdmin calls start on a thread whose children lack CAP_SYS_ADMIN,
// as an ordinary user's do: for tests of programs that call Reexec.
func WithoutSysAdmin(tb testing.TB, start func() error) {
	tb.Helper()
	Must(tb, onThrowawayThread(func() error {
		// Root would get it back when it executes a program, but for this set.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
		return start()
	}))
}
