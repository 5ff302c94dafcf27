package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// terminal is the screen that the output goes to, if it is one.
type terminal struct{ file *os.File }

// terminalOf returns the terminal behind w; its zero value means that w is
// none, for example a pipe.
func terminalOf(w io.Writer) terminal {
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return terminal{file}
	}
	return terminal{}
}

func (t terminal) is() bool { return t.file != nil }

// dumb reports whether the terminal understands no escape sequences.
func (t terminal) dumb() bool { return os.Getenv("TERM") == "dumb" }

// size is in characters; 0 where it is not known. It is asked anew each time,
// since a window can change.
func (t terminal) size() (columns, rows int) {
	if !t.is() {
		return 0, 0
	}
	columns, rows, err := term.GetSize(int(t.file.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

// useColor decides by --color, then https://no-color.org, then
// https://bixense.com/clicolors, then by what the output goes to.
func useColor(c *cli.Context, t terminal) (bool, error) {
	switch when := c.String("color"); when {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
	default:
		return false, usagef("--color %q: expected auto, always or never", when)
	}
	if os.Getenv("NO_COLOR") != "" {
		return false, nil
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true, nil
	}
	return t.is() && !t.dumb(), nil
}

// write prints text. An error is not ignored: a script that reads an empty
// file must not take it for an answer.
func write(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write the output: %w; is the disk full?", err)
	}
	return nil
}
