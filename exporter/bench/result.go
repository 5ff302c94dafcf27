//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Result is what one run measured.
type Result struct {
	Machine string `json:"machine"`
	Lines   []Line `json:"lines"`
}

// Line is one figure of routewatch's: its ratio to that of a peer, or alone.
type Line struct {
	Scenario string    `json:"scenario"`
	Figure   string    `json:"figure"`
	Unit     string    `json:"unit"`           // of Own and Its
	Peer     string    `json:"peer,omitempty"` // "": Value is the figure itself
	Own      []float64 `json:"own"`            // one a round
	Its      []float64 `json:"its,omitempty"`
	Value    float64   `json:"value"` // the median of the rounds' ratios
	Low      float64   `json:"low"`   // the least of them
	High     float64   `json:"high"`
	Limit    float64   `json:"limit,omitempty"` // of Value; with a peer 0, without one noBar: none is asked
}

// asked reports whether there is a bar.
func (l Line) asked() bool { return l.Limit > 0 || l.Peer == "" && l.Limit != noBar }

// holds reports whether the bar does.
func (l Line) holds() bool { return l.Value <= l.Limit }

// noise is how far apart the rounds were.
func (l Line) noise() float64 { return l.High - l.Low }

func (l Line) key() string { return l.Scenario + "/" + l.Figure + "/" + l.Peer }

// String is a line for the terminal.
func (l Line) String() string {
	c := l.cells()
	return fmt.Sprintf("%-26s %-24s %12s %12s  %-22s %-9s %s", c[1], c[2], c[3], c[4], c[5], c[6], c[7])
}

// cells are the columns of the table: what, figure, peer, ours, the peer's,
// ratio with its spread, bar, whether it holds.
func (l Line) cells() []string {
	var value, its, limit, holds string
	if l.Peer != "" {
		its = amount(medianOf(l.Its), l.Unit)
		value = fmt.Sprintf("%s x (%s to %s)", number(l.Value), number(l.Low), number(l.High))
		limit = number(l.Limit) + " x"
	} else {
		value = fmt.Sprintf("(%s to %s)", number(l.Low), number(l.High))
		limit = amount(l.Limit, l.Unit)
	}
	switch {
	case !l.asked():
		limit = ""
	case l.holds():
		holds = "yes"
	default:
		holds = "no"
	}
	return []string{l.Scenario, l.Figure, l.Peer, amount(medianOf(l.Own), l.Unit), its, value, limit, holds}
}

func amount(v float64, unit string) string { return strings.TrimSpace(number(v) + " " + unit) }

// number has three digits.
func number(v float64) string {
	if v == 0 || math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return fmt.Sprintf("%.*f", min(max(digits, 0), 6), v)
}

func (r Result) write(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// readResult returns an empty Result for the path "".
func readResult(path string) (Result, error) {
	var r Result
	if path == "" {
		return r, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: %w: expected what -out wrote", path, err)
	}
	return r, nil
}

// regressions is an error that names each line in which now is worse than r by
// more than the rounds of either run differ among themselves. Figures that are
// not compared with a peer depend on the machine; only their bar counts. Whole
// says that now is of all scenarios: then a line that it lacks is worse, too.
func (r Result) regressions(now Result, whole bool) error {
	lines := map[string]Line{}
	for _, l := range now.Lines {
		lines[l.key()] = l
	}
	var errs []error
	for _, before := range r.Lines {
		l, measured := lines[before.key()]
		switch {
		case measured && l.asked():
			errs = append(errs, l.regression(before))
		case !measured && whole && before.asked():
			errs = append(errs, fmt.Errorf("worse: %s, %s %s: not measured, and was", before.Scenario, before.Figure, before.Peer))
		}
	}
	return errors.Join(errs...)
}

// regression is nil if l is as good as before.
func (l Line) regression(before Line) error {
	noise := max(l.noise(), before.noise())
	switch {
	case l.Peer == "" && before.holds() && !l.holds():
		return fmt.Errorf("worse: %s, %s: %s, and was %s; the bar is %s",
			l.Scenario, l.Figure, amount(l.Value, l.Unit), amount(before.Value, l.Unit), amount(l.Limit, l.Unit))
	case l.Peer != "" && l.Value-before.Value > noise:
		return fmt.Errorf("worse: %s, %s: %s x %s, and was %s x; the rounds differ by %s",
			l.Scenario, l.Figure, number(l.Value), l.Peer, number(before.Value), number(noise))
	}
	return nil
}

const (
	tableBegin = "<!-- bench -->"
	tableEnd   = "<!-- /bench -->"
)

// writeTable puts the table of what is asked into a file, in the place of the last.
func (r Result) writeTable(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(b), tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		return fmt.Errorf("%s: expected a line %s and after it a line %s", path, tableBegin, tableEnd)
	}
	return os.WriteFile(path, []byte(before+tableBegin+"\n"+r.table()+tableEnd+after), 0o644)
}

func (r Result) table() string {
	var t strings.Builder
	t.WriteString("| what | figure | routewatch | beside | it has | ratio (spread) | bar | holds |\n|---|---|---|---|---|---|---|---|\n")
	for _, l := range r.Lines {
		if l.asked() {
			c := l.cells()
			fmt.Fprintf(&t, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", c[0], c[1], c[3], c[2], c[4], c[5], c[6], c[7])
		}
	}
	fmt.Fprintf(&t, "\n%s\n", r.Machine)
	return t.String()
}

// machine names what the figures were measured on.
func machine() string {
	cpu := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				cpu = strings.TrimSpace(strings.TrimLeft(name, "\t :"))
				break
			}
		}
	}
	kernel := "unknown"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("Measured on %s: %s, %d cores, Linux %s, %s.",
		time.Now().UTC().Format(time.DateOnly), cpu, runtime.NumCPU(), kernel, runtime.Version())
}
