//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// story prints the demo and remembers what was not as it must be.
type story struct {
	w      io.Writer
	color  bool
	act    string
	failed []string
}

// newStory colors on a terminal, unless NO_COLOR is set (no-color.org).
func newStory(out *os.File) *story {
	return &story{w: out, color: term.IsTerminal(int(out.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// SGR parameters of a terminal.
const (
	bold  = "1"
	red   = "31"
	green = "32"
	dim   = "2"
)

func (s *story) paint(sgr, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (s *story) line(text string) { fmt.Fprintln(s.w, text) }

// headline begins an act.
func (s *story) headline(act string) {
	s.act = act
	s.line("\n" + s.paint(bold, "== "+act+" =="))
}

// commands shows what is typed, and where.
func (s *story) commands(prompt string, commands ...string) {
	s.line("")
	for _, c := range commands {
		s.line(s.paint(dim, prompt) + " " + s.paint(bold, c))
	}
}

// output shows what a program printed.
func (s *story) output(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		s.line(strings.TrimRight("  | "+strings.TrimRight(line, "\n"), " "))
	}
}

// check shows whether something is as it must be. Seen says what there is instead.
func (s *story) check(ok bool, what, seen string) {
	if ok {
		s.line("  " + s.paint(green, "ok") + "    " + what)
		return
	}
	s.line("  " + s.paint(red, "FAIL") + "  " + what + ": " + seen)
	s.failed = append(s.failed, fmt.Sprintf("act %q: expected that %s, but %s", s.act, what, seen))
}

// end returns an error if a check failed.
func (s *story) end() error {
	if len(s.failed) == 0 {
		return nil
	}
	return errors.New("the demo did not show what it must:\n  " + strings.Join(s.failed, "\n  "))
}
