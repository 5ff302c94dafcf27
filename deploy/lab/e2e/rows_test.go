package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// rowsFile says what routewatch makes of each change; see the top of it.
const rowsFile = "testdata/rows.txt"

// row is what one change does to the leases of one family.
type row struct {
	line                  int
	change, family        string
	leases                string // all, node-3, others
	state, effect, cause  string
	nodeProblems, because string
}

// readRows reads the table. Each row is a line of eight cells.
func readRows(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile(rowsFile)
	netns.Must(t, err)
	var rows []row
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) != 8 {
			t.Fatalf("%s:%d has %d cells, want 8", rowsFile, number, len(cells))
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, row{number, cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6], cells[7]})
	}
	return rows
}

// scene is one run: a change in one family, or in both at once.
type scene struct {
	change, family string
	rows           []row
}

func scenes(t *testing.T) []scene {
	var all []scene
	for _, r := range readRows(t) {
		i := slices.IndexFunc(all, func(s scene) bool { return s.change == r.change && s.family == r.family })
		if i < 0 {
			all = append(all, scene{r.change, r.family, nil})
			i = len(all) - 1
		}
		all[i].rows = append(all[i].rows, r)
	}
	return all
}

// families are those that the change is made in, and those that it concerns.
func (s scene) families() (do netstate.Family, concerns []netstate.Family) {
	switch s.family {
	case "ipv4":
		return netstate.IPv4, []netstate.Family{netstate.IPv4}
	case "ipv6":
		return netstate.IPv6, []netstate.Family{netstate.IPv6}
	}
	return netstate.IPv4, []netstate.Family{netstate.IPv4, netstate.IPv6}
}

// outcome is a status as the table has it: the leases that are not ok, by
// subnet, and the node problems as "problem device".
type outcome struct {
	Leases       map[string]verdictOf
	NodeProblems []string
}

// want is the outcome that the rows say. Before the start no cause can be known.
func (s scene) want(n *node, causes bool) outcome {
	_, concerns := s.families()
	o := outcome{Leases: map[string]verdictOf{}}
	for _, r := range s.rows {
		for _, l := range n.peers {
			if !slices.Contains(concerns, l.Family) || r.leases == "node-3" && l.Peer != "node-3" || r.leases == "others" && l.Peer == "node-3" {
				continue
			}
			v := verdictOf{verdict.State(r.state), verdict.Effect(r.effect), verdict.Cause(r.cause)}
			if !causes {
				v.Cause = verdict.CauseUnknown
			}
			if v.State != verdict.OK {
				o.Leases[l.Subnet.String()] = v
			}
		}
		for p := range strings.SplitSeq(r.nodeProblems, ", ") {
			if p != "-" {
				o.NodeProblems = append(o.NodeProblems, p)
			}
		}
	}
	slices.Sort(o.NodeProblems)
	return o
}

func outcomeOf(s wire.NodeStatus) outcome {
	o := outcome{Leases: map[string]verdictOf{}}
	for _, p := range s.Problems {
		o.Leases[p.Lease.String()] = verdictOf{p.State, p.Effect, p.Cause}
	}
	for _, p := range s.NodeProblems {
		o.NodeProblems = append(o.NodeProblems, string(p.Problem)+" "+p.Device)
	}
	slices.Sort(o.NodeProblems)
	return o
}

// TestRows makes each change of the table on a node that the built exporter
// watches, and holds what it says against the table: once as the exporter sees
// it happen, and once as one sees it that is started only then.
func TestRows(t *testing.T) {
	all := scenes(t)
	used := map[string]bool{}
	for _, s := range all {
		used[s.change] = true
		c, ok := changes[s.change]
		if !ok {
			t.Errorf("%s:%d: nothing does %q", rowsFile, s.rows[0].line, s.change)
			continue
		}
		if netns.InUserNamespace() && slices.Contains(needsRoot, s.change) {
			t.Logf("%s: left out in a user namespace", s.change)
			continue
		}
		t.Run(strings.ReplaceAll(s.change, " ", "_")+"/"+s.family, func(t *testing.T) {
			n := newNode(t)
			family, _ := s.families()
			before := scene{}
			if c.from != "" {
				i := slices.IndexFunc(all, func(o scene) bool { return o.change == c.from && (o.family == s.family || o.family == "both") })
				if i < 0 {
					t.Fatalf("the table has no row %q for %s", c.from, s.family)
				}
				before = all[i]
				changes[c.from].do(t, n, family)
			}
			n.start(t)
			n.reaches(t, startup, before.want(n, false))
			c.do(t, n, family)
			want := s.want(n, true)
			if len(want.Leases) == 0 && len(want.NodeProblems) == 0 {
				n.pulse(t)
			}
			n.reaches(t, time.Second, want)
			if diff := cmp.Diff(s.want(n, false), n.outcomeOnce(t)); diff != "" {
				t.Errorf("an exporter that starts after the change (-want +got):\n%s", diff)
			}
			n.reaches(t, time.Second, want) // still
		})
	}
	for name := range changes {
		if !used[name] {
			t.Errorf("%s has no row %q", rowsFile, name)
		}
	}
}

// reaches waits until the exporter says so.
func (n *node) reaches(t *testing.T, limit time.Duration, want outcome) {
	t.Helper()
	var diff string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s := n.status(t)
		diff = cmp.Diff(want, outcomeOf(s))
		if s.Complete && diff == "" {
			return
		}
	}
	t.Fatalf("not within %s (-want +got):\n%s", limit, diff)
}

// pulse breaks a lease that the change does not concern and mends it again: an
// exporter that says so has seen all that happened before. Without it, "still
// ok" might only mean "not yet seen".
func (n *node) pulse(t *testing.T) {
	t.Helper()
	l := n.peers[0]
	r := netstate.Route{Dst: l.Subnet, Type: netstate.Blackhole, Priority: 1, Table: netstate.TableMain}
	r.Dst = hostRoute(l.Subnet.Addr().Next())
	netns.Must(t, n.NS.RouteAdd(r))
	eventually(t, "the pulse is seen", func() bool { return n.problems(t)[l.Subnet.String()].State != "" })
	netns.Must(t, n.NS.RouteDel(r))
}

// outcomeOnce is what an exporter says that is started only now.
func (n *node) outcomeOnce(t *testing.T) outcome {
	t.Helper()
	out, _ := exec.Command(filepath.Join(programs, "routewatch-exporter"), // exit code 1 says that there are problems
		"--once", "--node-name", "node-1", "--leases.file", n.file, "--netns", n.NS.Path()).Output()
	var s wire.NodeStatus
	netns.Must(t, json.Unmarshal(out, &s))
	if !s.Complete {
		t.Errorf("--once is not complete: %s", out)
	}
	return outcomeOf(s)
}

// TestRows_AreWords: what the table says is in the vocabulary.
func TestRows_AreWords(t *testing.T) {
	has := func(words []verdict.Word, name string) bool {
		return slices.ContainsFunc(words, func(w verdict.Word) bool { return w.Name == name })
	}
	for _, r := range readRows(t) {
		at := fmt.Sprintf("%s:%d", rowsFile, r.line)
		if !slices.Contains([]string{"ipv4", "ipv6", "both"}, r.family) || !slices.Contains([]string{"all", "node-3", "others"}, r.leases) {
			t.Errorf("%s: family %q, leases %q", at, r.family, r.leases)
		}
		if !has(verdict.States(), r.state) || !has(verdict.Effects(), r.effect) {
			t.Errorf("%s: %q or %q is no word", at, r.state, r.effect)
		}
		if well := r.state == string(verdict.OK); well != (r.cause == "-") || !well && !has(verdict.Causes(), r.cause) {
			t.Errorf("%s: state %q has the cause %q", at, r.state, r.cause)
		}
		for p := range strings.SplitSeq(r.nodeProblems, ", ") {
			word, _, _ := strings.Cut(p, " ")
			if p != "-" && !has(verdict.NodeProblems(), word) {
				t.Errorf("%s: %q is no node problem", at, p)
			}
		}
		if r.because == "" {
			t.Errorf("%s does not say what it shows", at)
		}
	}
}

// TestRows_Mend: what the advice says after some changes, typed as it is
// printed, mends them.
func TestRows_Mend(t *testing.T) {
	for _, change := range []string{
		"its src deleted", "nexthop deleted", "nexthop replaced", "no compat: replaced", "nexthop group", "multipath", "leg deleted",
		"routes flushed", "rule of main deleted",
	} {
		t.Run(strings.ReplaceAll(change, " ", "_"), func(t *testing.T) {
			n := newNode(t)
			c := changes[change]
			if c.from != "" {
				changes[c.from].do(t, n, netstate.IPv4)
			}
			c.do(t, n, netstate.IPv4)
			n.start(t)
			within(t, startup, "the change is seen", func() bool { s := n.status(t); return s.Complete && s.ProblemsTotal > 0 })
			n.mend(t)
		})
	}
}
