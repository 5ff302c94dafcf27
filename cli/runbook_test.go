//go:build linux

package main

import (
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"routewatch/dashboards"
)

// typed is a command of this program in a text: in backquotes, after what
// `kubectl exec` needs, or a line of its own.
var typed = regexp.MustCompile("(?m)(?:`|-- )routewatch ([a-z]+)([^`\"\n]*)|^ *routewatch ([a-z]+)((?: (?:-|[A-Z$]|{{)[^#\n]*)?) *(?:#.*)?$")

// TestRunbooks_Commands: what alerts and runbooks say to type is there, with its
// flags.
func TestRunbooks_Commands(t *testing.T) {
	texts := map[string]string{"the rules": string(dashboards.Rules)}
	pages, err := fs.Glob(dashboards.Runbooks, "runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pages {
		text, err := fs.ReadFile(dashboards.Runbooks, name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	app := newApp(system{stdout: io.Discard, stderr: io.Discard})
	found := map[string]bool{}
	for name, text := range texts {
		for _, m := range typed.FindAllStringSubmatch(text, -1) {
			command, args := m[1]+m[3], m[2]+m[4]
			c := app.Command(command)
			if c == nil {
				t.Errorf("%s: there is no command %q", name, m[0])
				continue
			}
			found[command] = true
			for _, word := range strings.Fields(args) {
				flag := strings.TrimLeft(word, "-")
				if flag != word && !slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) }) {
					t.Errorf("%s: %s has no flag %s, in %q", name, command, word, m[0])
				}
			}
		}
	}
	for _, want := range []string{"status", "leases", "events", "diagnose", "matrix", "explain", "diff"} {
		if !found[want] {
			t.Errorf("routewatch %s was not found: can this test still read the texts?", want)
		}
	}
}
