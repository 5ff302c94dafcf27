package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"routewatch/cli/internal/render"
)

// watcher asks for the status again and again and shows what changes.
type watcher struct {
	p   *statusPrinter
	sys system

	last     *view     // the last answer, nil before the first
	lastAt   time.Time // when it came
	shown    string    // state of what was printed last to a pipe
	outcome  error     // exit code of the last state
	drawn    bool      // the screen holds a frame
	redrawer bool      // the output is a screen that can be drawn anew
}

func newWatcher(p *statusPrinter, sys system) *watcher {
	w := &watcher{
		p: p, sys: sys,
		outcome:  exitCode(exitCannotTell),
		redrawer: p.screen.is() && !p.screen.dumb() && p.format.isText(),
	}
	p.brief, p.keep = w.redrawer, !w.redrawer
	return w
}

// run ends when ctx does, with the exit code of the last state. A lost
// exporter is shown and asked again.
func (w *watcher) run(ctx context.Context) error {
	ticker := time.NewTicker(w.p.fleet.pace(w.sys.poll))
	defer ticker.Stop()
	for {
		v, err := w.p.look(ctx)
		if ctx.Err() != nil {
			return w.outcome
		}
		if err == nil {
			w.last, w.lastAt, w.outcome = v, w.sys.now(), v.outcome
		} else {
			w.outcome = exitCode(exitCannotTell)
		}
		show := w.append
		if w.redrawer {
			show = w.redraw
		}
		if err := show(err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return w.outcome
		case <-ticker.C:
		}
	}
}

// append prints a status only when something but its time changed, below a
// line with the time. JSON and YAML documents follow each other bare, so that
// a program can read the stream; there a lost exporter goes to standard error.
func (w *watcher) append(lost error) error {
	if lost != nil {
		if lost.Error() == w.shown {
			return nil
		}
		w.shown = lost.Error()
		out := w.sys.stderr
		if w.p.format.isText() {
			out = w.sys.stdout
		}
		return write(out, fmt.Sprintf("--- %s\nCANNOT TELL: %s\n", w.stamp(), render.Clean(lost.Error())))
	}
	state := w.last.state()
	if state == w.shown {
		return nil
	}
	w.shown = state
	text, err := w.last.text()
	if err != nil {
		return err
	}
	switch w.p.format {
	case formatYAML:
		text = "---\n" + text
	case formatTable, formatWide:
		text = fmt.Sprintf("--- %s\n%s", w.stamp(), text)
	}
	return write(w.sys.stdout, text)
}

func (w *watcher) stamp() string { return w.sys.now().UTC().Format(time.RFC3339) }

// fingerprint is the document without the times that pass while nothing
// happens.
func fingerprint(document []byte) string {
	var fields map[string]any
	if err := json.Unmarshal(document, &fields); err != nil {
		return string(document)
	}
	delete(fields, "time")
	if sources, ok := fields["sources"].([]any); ok {
		for _, source := range sources {
			if source, ok := source.(map[string]any); ok {
				delete(source, "lastSync")
				delete(source, "written")
			}
		}
	}
	same, err := json.Marshal(fields)
	if err != nil {
		return string(document)
	}
	return string(same)
}

// redraw draws a frame over the last one, in one write and without clearing
// the screen first, so that nothing flickers.
func (w *watcher) redraw(lost error) error {
	var text string
	if w.last != nil {
		var err error
		if text, err = w.last.text(); err != nil {
			return err
		}
	}
	if lost != nil {
		style := render.Style{Color: w.p.color}
		head := style.Unsure("CANNOT TELL: "+render.Clean(lost.Error())) + "\nAsking again and again.\n"
		if w.last != nil {
			head += fmt.Sprintf("\nLAST KNOWN, %s ago:\n", render.Age(w.sys.now().Sub(w.lastAt)))
		}
		text = head + text
	}
	columns, rows := w.p.screen.size()
	text = frame(text, columns, rows)
	if !w.drawn {
		// Scroll what is on the screen away instead of wiping it.
		text = strings.Repeat("\n", rows) + text
		w.drawn = true
	}
	return write(w.sys.stdout, text)
}

// Escape sequences of ECMA-48 that every terminal but a dumb one knows.
const (
	home       = "\x1b[H"
	eraseRight = "\x1b[K"
	eraseBelow = "\x1b[J"
)

// frame makes text a screen that covers the one before. Lines that are wider
// than the screen are left to wrap, so that a command can still be copied;
// what does not fit below is cut, and said to be.
func frame(text string, columns, rows int) string {
	var b strings.Builder
	b.WriteString(home)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	left := rows - 1 // the last row is for the cursor
	for i, line := range lines {
		width := render.Width(line)
		height := 1
		if columns > 0 {
			height = max(1, (width+columns-1)/columns)
		}
		if last := i == len(lines)-1; rows > 0 && (left < height || left == height && !last) {
			cut := fmt.Sprintf("... and %d more: make the window higher", len(lines)-i)
			if columns > 0 {
				cut = cut[:min(len(cut), columns-1)]
			}
			b.WriteString(cut + eraseRight + "\n")
			break
		}
		left -= height
		b.WriteString(line)
		// After a full row the cursor still stands on its last character,
		// which erasing to the right would take away.
		if columns == 0 || width == 0 || width%columns != 0 {
			b.WriteString(eraseRight)
		}
		b.WriteString("\n")
	}
	b.WriteString(eraseBelow)
	return b.String()
}
