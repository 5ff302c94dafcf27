//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// screen is a terminal that knows what frame uses.
type screen struct {
	cells    [][]rune
	row, col int // col == width: the row is full and the next character wraps
}

func newScreen(columns, rows int) *screen {
	s := &screen{cells: make([][]rune, rows)}
	for i := range s.cells {
		s.cells[i] = blank(columns)
	}
	return s
}

func blank(columns int) []rune { return slices.Repeat([]rune{' '}, columns) }

func (s *screen) feed(t *rapid.T, text string) {
	width := len(s.cells[0])
	for text != "" {
		var rest string
		switch {
		case strings.HasPrefix(text, home):
			s.row, s.col, rest = 0, 0, text[len(home):]
		case strings.HasPrefix(text, eraseRight):
			// With a full row, the cursor is still on its last character.
			copy(s.cells[s.row][min(s.col, width-1):], blank(width))
			rest = text[len(eraseRight):]
		case strings.HasPrefix(text, eraseBelow):
			copy(s.cells[s.row][min(s.col, width-1):], blank(width))
			for _, row := range s.cells[s.row+1:] {
				copy(row, blank(width))
			}
			rest = text[len(eraseBelow):]
		case text[0] == '\n': // a terminal also returns the carriage
			s.col, rest = 0, text[1:]
			s.down(t)
		default:
			if s.col == width {
				s.col = 0
				s.down(t)
			}
			s.cells[s.row][s.col] = rune(text[0])
			s.col, rest = s.col+1, text[1:]
		}
		text = rest
	}
}

func (s *screen) down(t *rapid.T) {
	if s.row++; s.row == len(s.cells) {
		t.Fatal("the frame scrolls the screen")
	}
}

// text is what a person sees.
func (s *screen) text() []string {
	var lines []string
	for _, row := range s.cells {
		lines = append(lines, strings.TrimRight(string(row), " "))
	}
	return lines
}

// Whatever was on the screen, a frame shows exactly its own text, cut at the
// bottom, and never scrolls.
func TestFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns, rows := rapid.IntRange(30, 70).Draw(t, "columns"), rapid.IntRange(3, 12).Draw(t, "rows")
		line := rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat("x", rapid.IntRange(0, 2*columns+1).Draw(t, "length"))
		})
		shown, fresh := newScreen(columns, rows), newScreen(columns, rows)
		text := ""
		for range 3 {
			text = strings.Join(rapid.SliceOfN(line, 1, 14).Draw(t, "lines"), "\n") + "\n"
			shown.feed(t, frame(text, columns, rows))
		}
		fresh.feed(t, frame(text, columns, rows))
		if diff := cmp.Diff(fresh.text(), shown.text()); diff != "" {
			t.Fatalf("something of the frame before is left (-want +got)\n%s", diff)
		}
		all := strings.Join(shown.text(), "")
		if cut := strings.Contains(all, "... and"); !cut && strings.Count(all, "x") != strings.Count(text, "x") {
			t.Fatalf("a part of the text is missing:\n%s", strings.Join(shown.text(), "\n"))
		}
	})
}

func TestFingerprint(t *testing.T) {
	const a = `{"time":"1","node":"n","sources":[{"name":"file","lastSync":"1","written":"1","complete":true}],"newer":1}`
	const later = `{"node":"n", "time":"2","sources":[{"name":"file","lastSync":"2","written":"2","complete":true}],"newer":1}`
	if fingerprint([]byte(a)) != fingerprint([]byte(later)) {
		t.Error("the time alone is a change")
	}
	for _, other := range []string{strings.Replace(a, `"newer":1`, `"newer":2`, 1), strings.Replace(a, `"complete":true`, `"complete":false`, 1)} {
		if fingerprint([]byte(a)) == fingerprint([]byte(other)) {
			t.Errorf("no change to %s", other)
		}
	}
}
