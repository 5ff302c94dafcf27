package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/render"
	"routewatch/shared/events"
	"routewatch/shared/flight"
	"routewatch/shared/wire"
)

const replayHelp = `Judges a recording again, which the exporter writes with --record FILE, and
lists the steps at which something changed. FILE - is standard input.

Examples:
  routewatch replay FILE                     what changed, and at which step
  routewatch replay --at 17 FILE             the status after this step
  routewatch replay --at +90s FILE           90 seconds after the first step
  routewatch replay --at 2026-11-23T03:00:00Z FILE
  routewatch replay --at 17 -o json FILE     for programs
  cat FILE.1 FILE | routewatch replay -      both halves of a recording

Exit codes:
  0  healthy at the last step, or at that of --at
  1  problems
  2  cannot tell, or a part of the recording cannot be used
  3  usage`

func replayCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "replay",
		Usage:       "judge a recording again, step by step",
		ArgsUsage:   "FILE",
		Description: replayHelp,
		Flags: append(outputFlags(), &cli.StringFlag{Name: "at",
			Usage: "print the status at a `MOMENT`: a time, +DURATION after the first step, or the number of a step"}),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("replay takes one FILE, or - for standard input, found %d arguments", c.NArg())
			}
			p, err := newPagePrinter(c, sys)
			if err != nil {
				return err
			}
			r := replayer{printer: p, name: c.Args().First()}
			if c.IsSet("at") {
				if r.at, err = parseMoment(c.String("at")); err != nil {
					return err
				}
			}
			return r.run()
		},
	}
}

// moment is a value of --at; exactly one of its fields is set.
type moment struct {
	step  int
	after *time.Duration // of the first step
	time  time.Time
}

func parseMoment(s string) (*moment, error) {
	if s != "" && s[0] == '+' {
		if d, err := time.ParseDuration(s[1:]); err == nil && d >= 0 {
			return &moment{after: &d}, nil
		}
	}
	n := 0
	if _, err := fmt.Sscanf(s, "%d", &n); err == nil && fmt.Sprint(n) == s && n > 0 {
		return &moment{step: n}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime} { // the second is how times are printed, in UTC
		if t, err := time.Parse(layout, s); err == nil {
			return &moment{time: t}, nil
		}
	}
	return nil, usagef("--at %q: expected the number of a step, for example 17, or +90s, or %s", s, time.DateTime)
}

// limit is the last moment that --at includes, given the first one.
func (m *moment) limit(first time.Time) time.Time {
	if m.after != nil {
		return first.Add(*m.after)
	}
	return m.time
}

// includes reports whether a step is not behind the moment.
func (m *moment) includes(step flight.Moment, first time.Time) bool {
	if m.step > 0 {
		return step.N <= m.step
	}
	return !step.Input.Now.After(m.limit(first))
}

// replayer steps through one recording.
type replayer struct {
	printer
	name    string
	at      *moment // nil: list the steps
	first   time.Time
	chosen  flight.Moment // the last step, or that of --at; N is 0 if there is none
	last    flight.Moment
	steps   []replayStep
	damaged bool
}

// replayStep is a step at which something changed.
type replayStep struct {
	Step    int          `json:"step"`
	Time    time.Time    `json:"time"`
	Trigger string       `json:"trigger"` // start, leases, kernel or time
	Lost    uint64       `json:"lost,omitempty"`
	Outcome wire.Outcome `json:"outcome"` // as an exit code
	Bad     int          `json:"bad"`     // leases
	Events  []wire.Event `json:"events"`
}

func (r *replayer) run() error {
	in := io.Reader(os.Stdin)
	if r.name != "-" {
		f, err := os.Open(r.name)
		if err != nil {
			return fmt.Errorf("%w; the exporter writes a recording with --record FILE", err)
		}
		defer f.Close()
		in = f
	}
	for m, err := range flight.Replay(in) {
		var damage *flight.Damage
		switch {
		case errors.As(err, &damage):
			r.damaged = true
			if err := r.warn(damage.Error()); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("%s: %w", r.name, err)
		default:
			r.take(m)
		}
	}
	if r.last.N == 0 {
		return fmt.Errorf("%s holds no step that can be used: let the exporter run with --record FILE for longer", r.name)
	}
	if err := r.print(); err != nil {
		return err
	}
	if r.damaged {
		return exitCode(exitCannotTell)
	}
	status := r.chosen.Snapshot.Status()
	if o := status.Outcome(r.now()); o != wire.Well {
		return exitCode(o)
	}
	return nil
}

func (r *replayer) warn(text string) error {
	return write(r.sys.stderr, "routewatch: "+render.Clean(r.name+": "+text)+"\n")
}

// take notes a step.
func (r *replayer) take(m flight.Moment) {
	if r.last.N == 0 {
		r.first = m.Input.Now
	}
	if r.at == nil || r.at.includes(m, r.first) {
		r.chosen = m
	}
	if r.at == nil {
		r.list(m)
	}
	r.last = m
}

// list notes a step if something changed at it.
func (r *replayer) list(m flight.Moment) {
	status := m.Snapshot.Status()
	step := replayStep{
		Step: m.N, Time: m.Input.Now, Trigger: trigger(r.last, m), Lost: m.Lost,
		Outcome: status.Outcome(m.Input.Now), Bad: status.BadLeases(), Events: events.Between(m.Previous, m.Snapshot),
	}
	if step.Events == nil {
		step.Events = []wire.Event{}
	}
	same := false
	if n := len(r.steps); n > 0 {
		same = r.steps[n-1].Outcome == step.Outcome && r.steps[n-1].Bad == step.Bad
	}
	if !same || len(step.Events) > 0 || step.Lost > 0 {
		r.steps = append(r.steps, step)
	}
}

// trigger says what made the exporter judge.
func trigger(was, is flight.Moment) string {
	switch {
	case was.N == 0 || is.Header != was.Header:
		return "start"
	case is.Input.Set != was.Input.Set && is.Lost == 0:
		return "leases"
	case is.Input.State != nil && (was.Input.State == nil || !is.Input.State.At.Equal(was.Input.State.At)):
		return "kernel"
	case is.Lost > 0:
		return "gap"
	}
	return "time"
}

// now is the moment for which the status is printed: it is judged by the clock
// of the recording.
func (r *replayer) now() time.Time {
	if r.at == nil || r.at.step > 0 {
		return r.chosen.Input.Now
	}
	return r.at.limit(r.first)
}

func (r *replayer) print() error {
	if r.at == nil {
		return r.printSteps()
	}
	from, to := r.first.UTC().Format(time.DateTime), r.last.Input.Now.UTC().Format(time.DateTime)
	switch {
	case r.chosen.N == 0 || r.at.step > r.last.N:
		return withHelp(usagef("nothing is recorded at this moment: expected step 1 to %d, or %s to %s", r.last.N, from, to), "replay")
	case r.at.step == 0 && r.now().Sub(r.last.Input.Now) > wire.MaxAge:
		return withHelp(usagef("nothing is recorded at this moment: the recording ends at %s, at step %d", to, r.last.N), "replay")
	}
	status := r.chosen.Snapshot.Status()
	if !r.format.isText() {
		return r.printDocument(status)
	}
	o := r.options(r.now())
	o.Command = fmt.Sprintf("routewatch replay --at %d %s", r.chosen.N, r.name)
	return write(r.sys.stdout, render.Status(&status, o))
}

func (r *replayer) printDocument(document any) error {
	text, err := r.encode(document)
	if err != nil {
		return err
	}
	return write(r.sys.stdout, text)
}

// printSteps prints the list, and how it ends.
func (r *replayer) printSteps() error {
	if !r.format.isText() {
		return r.printDocument(struct {
			Node     string       `json:"node"`
			Recorder string       `json:"recorder"` // its version
			Steps    int          `json:"steps"`
			Items    []replayStep `json:"items"`
		}{r.last.Snapshot.Node, r.last.Header.Version, r.last.N, r.steps})
	}
	o := r.options(r.now())
	rows := make([]render.Step, len(r.steps))
	for i, s := range r.steps {
		rows[i] = render.Step{N: s.Step, Time: s.Time, Trigger: s.Trigger, Outcome: s.Outcome, Bad: s.Bad, Lost: s.Lost}
		for _, e := range s.Events {
			rows[i].What = append(rows[i].What, e.Message)
		}
	}
	status := r.last.Snapshot.Status()
	end := fmt.Sprintf("%d steps of %s, recorded by routewatch %s. The status at one: routewatch replay --at STEP %s",
		r.last.N, status.Node, cmp.Or(r.last.Header.Version, "(devel)"), r.name)
	return write(r.sys.stdout, render.Steps(rows, &status, o)+render.Clean(end)+"\n")
}
