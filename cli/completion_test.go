//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// What is known of flags and arguments is of ones that are there, and words that a
// usage lists are known.
func TestCompletion_IsOfTheCommands(t *testing.T) {
	app := newApp(system{})
	for name := range flagWords() {
		if !known(app, name) {
			t.Errorf("there are words for --%s, and no such flag", name)
		}
	}
	for _, flag := range allFlags(app) {
		usage := about(flag)
		words, files := flagValues(flag)
		if strings.HasSuffix(flag.Names()[0], "file") && !files {
			t.Errorf("--%s takes a file, and no file is completed", flag.Names()[0])
		}
		if listed := strings.Contains(usage, "json"); listed && len(words) == 0 {
			t.Errorf("--%s lists words, and none is completed: %s", flag.Names()[0], usage)
		}
	}
	for _, command := range app.Commands {
		words, files := arguments(app, command.Name)
		if command.ArgsUsage == "" && (len(words) > 0 || files) {
			t.Errorf("%s takes no argument, and some are completed", command.Name)
		}
	}
	// urfave adds its flags when it runs; each command's own must be found as well.
	for _, command := range app.Commands {
		for _, flag := range command.Flags {
			found, _ := candidates(app, []string{command.Name, dashed(flag.Names()[0])})
			if !slices.ContainsFunc(found, func(c candidate) bool { return c.word == dashed(flag.Names()[0]) }) {
				t.Errorf("%s: %s is not completed", command.Name, dashed(flag.Names()[0]))
			}
		}
	}
	if found, _ := candidates(app, []string{"status", "--he"}); len(found) != 1 || found[0].about != about(cli.HelpFlag) {
		t.Errorf("status --he: found %v, want --help", found)
	}
}
