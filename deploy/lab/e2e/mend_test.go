package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"routewatch/deploy/lab/shell"
)

// mend types what the advice says, as it is printed, and demands that the node
// is healthy then. Commands that mend no single object (flannel's restart, and
// those that only show something) are not typed.
func (n *node) mend(t *testing.T) {
	t.Helper()
	s := n.status(t)
	if len(s.Problems) == 0 {
		t.Fatal("nothing to mend")
	}
	var typed []string
	for _, p := range s.Problems {
		for _, a := range p.Advice {
			if a.Why == "" && !slices.Contains(typed, a.Command) { // one command can be the advice for many leases
				n.enter(t, a.Command)
				typed = append(typed, a.Command)
			}
		}
	}
	eventually(t, fmt.Sprintf("healthy after %q", typed), func() bool { return n.status(t).Healthy })
}

// enter types a command on the node: to the real ip and bridge where the
// machine has them, else to the lab's own shell.
func (n *node) enter(t *testing.T, command string) {
	t.Helper()
	words := strings.Fields(command)
	if _, err := exec.LookPath(words[0]); err != nil {
		if err := shell.Type(n.NS, command); err != nil {
			t.Fatal(err)
		}
		return
	}
	err := n.NS.Do(func() error {
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
