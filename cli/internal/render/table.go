package render

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// gap is what separates two columns.
const gap = 2

// column is one column of a table.
type column struct {
	title string
	// least is the width to which the column may shrink where the terminal is
	// too narrow; 0: it stays whole. A cell is then cut in its middle, since
	// the end of a name tells as much as the beginning; one of the last column,
	// which is prose, continues on the next line.
	least int
	// spare: left out where the terminal is too narrow, before anything shrinks.
	spare bool
}

// cell is one cell: its text and how to color it.
type cell struct {
	text  string
	paint func(string) string
}

func (c cell) painted(text string) string {
	if c.paint == nil {
		return text
	}
	return c.paint(text)
}

func plain(text string) cell { return cell{text: Clean(text)} }

// table is printed as kubectl prints one: upper-case titles, no borders.
// It is not a text/tabwriter, which counts the bytes of colors as width.
type table struct {
	columns []column
	rows    [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// lines fits the table into the width (0: no limit) as far as it can be.
func (t *table) lines(width int) []string {
	widths := t.fit(width)
	titles := make([]cell, len(t.columns))
	for i, c := range t.columns {
		titles[i] = cell{text: c.title}
	}
	lines := row(titles, widths)
	for _, cells := range t.rows {
		lines = append(lines, row(cells, widths)...)
	}
	return lines
}

// row is one line, or more where the last cell does not fit.
func row(cells []cell, widths []int) []string {
	var b strings.Builder
	indent, pad := 0, 0
	last := len(cells) - 1
	for i, c := range cells[:last] {
		if widths[i] == 0 {
			continue
		}
		text := shorten(c.text, widths[i])
		b.WriteString(strings.Repeat(" ", pad) + c.painted(text))
		pad = widths[i] - utf8.RuneCountInString(text) + gap
		indent += widths[i] + gap
	}
	var lines []string
	for _, text := range wrap(cells[last].text, 0, widths[last]) {
		b.WriteString(strings.Repeat(" ", pad) + cells[last].painted(text))
		lines = append(lines, b.String())
		b.Reset()
		pad = indent
	}
	return lines
}

// fit returns the width of each column; 0 leaves it out.
func (t *table) fit(width int) []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = utf8.RuneCountInString(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	if width == 0 {
		return widths
	}
	for i := range slices.Backward(t.columns) {
		if t.columns[i].spare && total(widths) > width {
			widths[i] = 0
		}
	}
	for total(widths) > width {
		widest := -1
		for i, c := range t.columns {
			if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

func total(widths []int) int {
	sum := -gap
	for _, w := range widths {
		if w > 0 {
			sum += w + gap
		}
	}
	return sum
}

// shorten cuts the middle out of text that is wider than width, in characters,
// and marks the cut.
func shorten(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	tail := (width - 1) / 2
	return string(runes[:width-1-tail]) + "…" + string(runes[len(runes)-tail:])
}
