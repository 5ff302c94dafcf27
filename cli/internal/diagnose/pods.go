package diagnose

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Pods are those of flannel on the node, as far as Kubernetes was asked.
type Pods struct {
	Asked   bool
	Why     string // not asked
	Err     error
	Pods    []Pod
	Command string // that shows them
}

// Pod is one of flannel's.
type Pod struct {
	Name     string // with its namespace
	Phase    string // as kubectl's STATUS
	Ready    bool
	Restarts int
	Started  time.Time // zero if it does not run
	LastEnd  string    // why its container ended last; "" if it never did
	Log      string    // its end
	LogErr   error
}

// FlannelPod is the name of the step about flannel's pod.
const FlannelPod = "flannel's pod"

// Tail is how many lines of a log are looked at.
const Tail = 500

func (p *Pods) steps(now time.Time) []Step {
	pod, log := Step{Name: FlannelPod, Result: Skipped}, Step{Name: "flannel's log", Result: Skipped}
	switch {
	case !p.Asked:
		pod.Saw, log.Saw = p.Why, "not read"
		return []Step{pod, log}
	case p.Err != nil:
		pod.Result, pod.Saw, log.Saw = Unknown, p.Err.Error(), "not read"
		return []Step{pod, log}
	case len(p.Pods) == 0:
		pod.Saw = "none on this node: it is embedded, as in k3s, or is deployed in a way of its own; look at: " + p.Command
		log.Saw = "where it is embedded: journalctl -u k3s -u k3s-agent"
		return []Step{pod, log}
	}
	var steps []Step
	for i := range p.Pods {
		steps = append(steps, p.Pods[i].step(now), p.Pods[i].logStep())
	}
	return steps
}

func (p *Pod) step(now time.Time) Step {
	s := Step{Name: FlannelPod, Result: Good, Saw: fmt.Sprintf("%s is %s", p.Name, p.Phase)}
	if !p.Ready {
		s.Result = Bad
		s.Saw += ", NOT READY"
	}
	if !p.Started.IsZero() {
		s.Saw += fmt.Sprintf(", since %s", p.Started.UTC().Format(time.RFC3339))
		if now.Sub(p.Started) < recent && p.Restarts > 0 {
			s.Saw += ", just restarted"
		}
	}
	switch p.Restarts {
	case 0:
		s.Saw += ", never restarted"
	case 1:
		s.Saw += ", restarted once"
	default:
		s.Saw += fmt.Sprintf(", restarted %d times", p.Restarts)
	}
	if p.LastEnd != "" {
		s.Lines = append(s.Lines, "it ended last: "+p.LastEnd)
	}
	if s.Result == Good {
		s.Lines = append(s.Lines, "which proves nothing: flannel does not look at what it programmed, nor does its health check")
	}
	return s
}

// recent is how long a restart is worth telling of.
const recent = 10 * time.Minute

func (p *Pod) logStep() Step {
	s := Step{Name: "flannel's log", Result: Good}
	if p.LogErr != nil {
		return Step{Name: s.Name, Result: Unknown, Saw: p.LogErr.Error()}
	}
	all := strings.Split(strings.TrimSpace(p.Log), "\n")
	if p.Log = strings.TrimSpace(p.Log); p.Log == "" {
		return Step{Name: s.Name, Result: Skipped, Saw: "it is empty"}
	}
	for _, line := range all {
		if complains(line) {
			s.Lines = append(s.Lines, line)
		}
	}
	if n := len(s.Lines); n > 0 {
		s.Result, s.Saw = Noted, fmt.Sprintf("%d of its last %d lines complain; the last:", n, len(all))
		s.Lines = s.Lines[max(0, n-maxLines):]
		return s
	}
	s.Saw = fmt.Sprintf("nothing is wrong in its last %d lines; the last:", len(all))
	s.Lines = []string{cmp.Or(strings.TrimSpace(all[len(all)-1]), "(empty)")}
	return s
}

// complains knows the errors of klog, whose lines begin with the letter of
// their severity and the date, and those of the Go runtime.
func complains(line string) bool {
	if len(line) > 5 && strings.ContainsRune("EF", rune(line[0])) && digits(line[1:5]) {
		return true
	}
	return strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:")
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }
