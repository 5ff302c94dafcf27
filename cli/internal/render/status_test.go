package render_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// documents are those of the scripts, by file name.
func documents(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../../testdata/documents/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	all := map[string][]byte{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = b
	}
	return all
}

// Only what is to be copied may be wider than the terminal.
func TestStatus_Width(t *testing.T) {
	command := regexp.MustCompile(`^(ip |bridge |kubectl |\.\.\. and )`)
	for name, document := range documents(t) {
		var s wire.NodeStatus
		if err := json.Unmarshal(document, &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for width := 84; width <= 200; width++ {
			text := render.Status(&s, render.Options{Now: now, Width: width, Command: "routewatch status"})
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				if n := utf8.RuneCountInString(line); n > width && !command.MatchString(line) {
					t.Errorf("%s: %d columns in a terminal of %d: %s", name, n, width, line)
				}
			}
		}
	}
}

// Whatever an exporter sends, a page is text of whole lines, without a
// character that a terminal would obey.
func FuzzStatus(f *testing.F) {
	for _, document := range documents(f) {
		f.Add(document, 80)
	}
	f.Add([]byte(`{"node":"\u001b","devices":[{"name":"\u001b"}],"problems":[{"peer":"\u009b","state":"missing","lookup":"10.0.0.1 \u0007","advice":[{"command":"\u001b","why":"\u001b"}]},{"state":"unknown"}],"stale":[{"object":"\u001b"}]}`), 40)
	f.Fuzz(func(t *testing.T, document []byte, width int) {
		var s wire.NodeStatus
		if json.Unmarshal(document, &s) != nil || width < 0 || width > 1000 {
			t.Skip()
		}
		for _, wide := range []bool{false, true} {
			text := render.Status(&s, render.Options{Now: now, Width: width, Wide: wide})
			if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
				t.Errorf("control character at %d of %q", i, text)
			}
			if !strings.HasPrefix(text, "NODE ") || !strings.HasSuffix(text, "\n") {
				t.Errorf("no page: %q", text)
			}
		}
	})
}
