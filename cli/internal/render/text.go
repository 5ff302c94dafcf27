// Package render turns documents of the exporter into text for a terminal or a
// pipe. It is pure: the time, the width and whether to color are given.
package render

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Clean makes text that came from elsewhere fit for one line of a terminal:
// control characters, with which a node's name or a file's content could
// rewrite the screen, are replaced.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029':
			return utf8.RuneError
		}
		return r
	}, s)
}

// Age prints a duration as kubectl does (HumanDuration of
// k8s.io/apimachinery/pkg/util/duration): two units at most, the second only
// while the first is small.
func Age(d time.Duration) string {
	seconds := int(d / time.Second)
	minutes, hours := seconds/60, seconds/3600
	days := hours / 24
	years := days / 365
	two := func(n int, unit string, m int, small string) string {
		if m == 0 {
			return fmt.Sprintf("%d%s", n, unit)
		}
		return fmt.Sprintf("%d%s%d%s", n, unit, m, small)
	}
	switch {
	case seconds < -1:
		return "<invalid>"
	case seconds < 0:
		return "0s"
	case seconds < 2*60:
		return fmt.Sprintf("%ds", seconds)
	case minutes < 10:
		return two(minutes, "m", seconds%60, "s")
	case minutes < 3*60:
		return fmt.Sprintf("%dm", minutes)
	case hours < 8:
		return two(hours, "h", minutes%60, "m")
	case hours < 48:
		return fmt.Sprintf("%dh", hours)
	case days < 8:
		return two(days, "d", hours%24, "h")
	case days < 2*365:
		return fmt.Sprintf("%dd", days)
	case days < 8*365:
		return two(years, "y", days%365, "d")
	}
	return fmt.Sprintf("%dy", years)
}

// since is the age of t, or "-" if it is not known.
func since(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return Age(now.Sub(t))
}

// past says how long ago something was done: "last read 5s ago".
func past(did string, now, t time.Time) string {
	if t.IsZero() {
		return "never " + strings.TrimPrefix(did, "last ")
	}
	return did + " " + Age(now.Sub(t)) + " ago"
}

// number prints an integer with commas: 4,980.
func number(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural is "1 lease" or "3 leases".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// wrap breaks text between words so that it fits next to an indent of the
// given columns. Width 0 means that there is no limit. A word that is too long
// stays whole: it is likely to be copied.
func wrap(text string, indent, width int) []string {
	if width == 0 || indent+utf8.RuneCountInString(text) <= width {
		return []string{text}
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case indent+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// Style colors text. Color only repeats what the words already say.
type Style struct{ Color bool }

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s Style) good(text string) string { return s.paint("32", text) }
func (s Style) bad(text string) string  { return s.paint("1;31", text) }

func (s Style) heading(text string) string { return s.paint("1", text) }

// Cells of a grid are filled with the color.
func (s Style) goodCell(text string) string   { return s.paint("30;42", text) }
func (s Style) badCell(text string) string    { return s.paint("1;97;41", text) }
func (s Style) unsureCell(text string) string { return s.paint("30;43", text) }

// Unsure marks what is not certain.
func (s Style) Unsure(text string) string { return s.paint("1;33", text) }

// Width is how many columns a line takes, without its colors.
func Width(line string) int {
	n := 0
	for line != "" {
		before, after, found := strings.Cut(line, "\x1b[")
		n += utf8.RuneCountInString(before)
		if !found {
			break
		}
		_, line, _ = strings.Cut(after, "m")
	}
	return n
}
