package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts what was typed into the only order that urfave/cli v2
// understands: the command, its flags, then its arguments. People also type
// flags before the command, after arguments, and "-ojson". Everything after
// "--" is an argument.
func arrange(app *cli.App, args []string) []string {
	takesValue := valueFlags(app)
	var flags, words []string
	rest := args[1:]
	for len(rest) > 0 {
		arg := rest[0]
		rest = rest[1:]
		if arg == "--" {
			words = append(words, rest...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			words = append(words, arg)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case takesValue[name] && !hasValue && len(rest) == 0:
			// Nothing may follow, or it would be taken for the value.
			return slices.Concat(args[:1], words[:min(len(words), 1)], flags, []string{arg})
		case takesValue[name] && !hasValue:
			flags = append(flags, arg, rest[0])
			rest = rest[1:]
		case arg[1] != '-' && !known(app, name) && takesValue[name[:1]]:
			flags = append(flags, arg[:2], strings.TrimPrefix(arg[2:], "="))
		default:
			flags = append(flags, arg)
		}
	}
	if len(words) == 0 {
		return slices.Concat(args[:1], flags)
	}
	return slices.Concat(args[:1], words[:1], flags, []string{"--"}, words[1:])
}

// valueFlags are the names of all flags that take a value, of any command.
func valueFlags(app *cli.App) map[string]bool {
	names := map[string]bool{}
	for _, flag := range allFlags(app) {
		if doc, ok := flag.(cli.DocGenerationFlag); ok && doc.TakesValue() {
			for _, name := range flag.Names() {
				names[name] = true
			}
		}
	}
	return names
}

func allFlags(app *cli.App) []cli.Flag {
	flags := slices.Clone(app.Flags)
	for _, command := range app.Commands {
		flags = append(flags, command.Flags...)
	}
	return flags
}

func known(app *cli.App, name string) bool {
	return slices.ContainsFunc(allFlags(app), func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// explainUsage rewords what the flag package says of a flag. It names flags
// with one dash, and a bad value without what would be a good one.
func explainUsage(c *cli.Context, err error, _ bool) error {
	command := c.App.Command(c.Command.Name) // nil: it is the app itself
	flags, about := c.App.Flags, func(err error) error { return err }
	if command != nil {
		flags, about = command.Flags, func(err error) error { return withHelp(err, command.Name) }
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		names := []string{"--help"}
		for _, flag := range flags {
			names = append(names, dashed(flag.Names()[0]))
		}
		return about(usagef("unknown flag %s%s", dashed(name), didYouMean(dashed(name), names)))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return about(usagef("flag %s needs a value", dashed(name)))
	}
	for _, flag := range flags {
		name := flag.Names()[0]
		_, isDuration := flag.(*cli.DurationFlag)
		if isDuration && (strings.Contains(text, "flag -"+name+":") || strings.Contains(text, "flag "+name+":")) {
			text += ": expected a duration, for example 5s"
		}
	}
	return about(usageError{text, generalHelp})
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// didYouMean suggests the candidate that is nearest to what was typed, if one
// is near: the library would suggest something for any word.
func didYouMean(typed string, candidates []string) string {
	best, least := "", 3
	for _, candidate := range candidates {
		if d := distance(typed, candidate); d < least && d < len(candidate) {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance is the number of letters to insert, delete or replace in order to
// turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
