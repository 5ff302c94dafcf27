package main

import (
	_ "embed"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"routewatch/shared/verdict"
)

const completionHelp = `Prints a script that completes commands, flags and their words when you press TAB.

Examples:
  source <(routewatch completion bash)                  for ~/.bashrc
  source <(routewatch completion zsh)                   for ~/.zshrc, after compinit
  routewatch completion fish | source                   for ~/.config/fish/config.fish
  ln -s $(which routewatch) ~/bin/kubectl_complete-routewatch   on the PATH: also for
                                                        kubectl routewatch`

const (
	// completeWord is the command that the scripts ask; it is listed nowhere.
	completeWord = "__complete"
	// completerName is the program's when kubectl asks it, since it is a plugin.
	completerName = "kubectl_complete-routewatch"
)

// What is written last, in the way of cobra, which kubectl understands: whether
// the shell should go on with names of files.
const (
	withFiles    = ":0\n"
	withoutFiles = ":4\n"
)

//go:embed completion.bash
var completionBash string

//go:embed completion.zsh
var completionZsh string

//go:embed completion.fish
var completionFish string

// shells are those that have a script.
func shells() map[string]string {
	return map[string]string{"bash": completionBash, "fish": completionFish, "zsh": completionZsh}
}

func completionCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "a script that completes what you type, for your shell",
		ArgsUsage:   "bash|zsh|fish",
		Description: completionHelp,
		Action: func(c *cli.Context) error {
			script, ok := shells()[c.Args().First()]
			if !ok || c.NArg() != 1 {
				return usagef("completion %s: expected bash, zsh or fish", strings.Join(c.Args().Slice(), " "))
			}
			return write(sys.stdout, script)
		},
	}
}

// toComplete returns the words of the line that is completed, if the program is
// asked for that. The last one is what was typed of the word at the cursor.
func toComplete(args []string) (words []string, asked bool) {
	if filepath.Base(args[0]) == completerName {
		return args[1:], true
	}
	if len(args) > 1 && args[1] == completeWord {
		return args[2:], true
	}
	return nil, false
}

// complete prints the words that can follow, one a line with what each means, and
// last whether names of files can.
func complete(app *cli.App, words []string, sys system) error {
	found, files := candidates(app, words)
	var b strings.Builder
	for _, f := range found {
		b.WriteString(f.word)
		if f.about != "" {
			b.WriteString("\t" + f.about)
		}
		b.WriteByte('\n')
	}
	if files {
		return write(sys.stdout, b.String()+withFiles)
	}
	return write(sys.stdout, b.String()+withoutFiles)
}

// candidate is a word that can be typed, and what it means.
type candidate struct{ word, about string }

func candidates(app *cli.App, words []string) (found []candidate, files bool) {
	l := readLine(app, words)
	typed := l.typed
	switch name, _, ok := strings.Cut(typed, "="); {
	case l.flag != nil:
		found, files = flagValues(l.flag)
	case ok && strings.HasPrefix(typed, "--"): // --output=json in one word
		if flag := l.flagOf(app, name); flag != nil {
			found, files = flagValues(flag)
		}
		for i := range found {
			found[i].word = name + "=" + found[i].word
		}
	case strings.HasPrefix(typed, "-") && !l.plain:
		found = flagNames(l.flags(app))
	case l.command == nil:
		found = commandNames(app)
	case len(l.args) == 0:
		found, files = arguments(app, l.command.Name)
	}
	return slices.DeleteFunc(found, func(c candidate) bool { return !strings.HasPrefix(c.word, typed) }), files
}

// line is what was typed so far.
type line struct {
	command *cli.Command // nil: none yet, or one that is not known
	args    []string
	flag    cli.Flag // whose value is typed
	plain   bool     // after "--"
	typed   string   // of the last word
}

// readLine understands what was typed, in any order that arrange does. Bash makes
// three words of --output=json.
func readLine(app *cli.App, words []string) line {
	var l line
	for i, word := range words {
		if word == "=" && l.flag != nil {
			word = ""
			if i < len(words)-1 {
				continue
			}
		}
		if i == len(words)-1 {
			l.typed = word
			break
		}
		switch {
		case l.flag != nil:
			l.flag = nil
		case word == "--" && !l.plain:
			l.plain = true
		case strings.HasPrefix(word, "-") && !l.plain:
			l.flag = l.flagOf(app, word)
		case l.command == nil:
			l.command = app.Command(word)
		default:
			l.args = append(l.args, word)
		}
	}
	return l
}

// flags are those that can be typed.
func (l *line) flags(app *cli.App) []cli.Flag {
	if l.command == nil {
		return app.Flags
	}
	return append(slices.Clone(l.command.Flags), cli.HelpFlag)
}

// flagOf is the flag with the name, if it takes a value. Before the command it can
// be any command's.
func (l *line) flagOf(app *cli.App, dashes string) cli.Flag {
	flags := allFlags(app)
	if l.command != nil {
		flags = l.command.Flags
	}
	for _, flag := range flags {
		if doc, ok := flag.(cli.DocGenerationFlag); ok && doc.TakesValue() && slices.Contains(flag.Names(), strings.TrimLeft(dashes, "-")) {
			return flag
		}
	}
	return nil
}

func flagNames(flags []cli.Flag) []candidate {
	var all []candidate
	for _, flag := range flags {
		for _, name := range flag.Names() {
			all = append(all, candidate{dashed(name), about(flag)})
		}
	}
	return all
}

// about is the usage of a flag, which marks its value.
func about(flag cli.Flag) string {
	doc, ok := flag.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	return strings.ReplaceAll(doc.GetUsage(), "`", "")
}

// flagWords are the words that flags take as values.
func flagWords() map[string][]candidate {
	return map[string][]candidate{
		"output": plainWords(string(formatTable), string(formatWide), string(formatJSON), string(formatYAML)),
		"color":  plainWords("auto", "always", "never"),
		"for":    plainWords("healthy", "complete"),
		"state":  titled(verdict.States()),
	}
}

// flagValues are the words that a flag takes, or that it takes a file.
func flagValues(flag cli.Flag) (found []candidate, files bool) {
	doc, ok := flag.(cli.DocGenerationFlag)
	return flagWords()[flag.Names()[0]], ok && strings.Contains(doc.GetUsage(), "`FILE`")
}

func commandNames(app *cli.App) []candidate {
	var all []candidate
	for _, command := range app.VisibleCommands() {
		all = append(all, candidate{command.Name, command.Usage})
	}
	return all
}

// arguments are the words that a command takes first, or that it takes a file.
func arguments(app *cli.App, command string) (found []candidate, files bool) {
	switch command {
	case "help":
		return commandNames(app), false
	case "completion":
		return plainWords("bash", "fish", "zsh"), false
	case "runbook":
		found = plainWords(alerts()...)
		for _, v := range vocabularies() {
			found = append(found, titled(v.words)...)
		}
		return distinct(found), false
	case "replay":
		return nil, true
	}
	return nil, false
}

func plainWords(words ...string) []candidate {
	var all []candidate
	for _, w := range words {
		all = append(all, candidate{word: w})
	}
	return all
}

func titled(words []verdict.Word) []candidate {
	var all []candidate
	for _, w := range words {
		all = append(all, candidate{w.Name, w.Title})
	}
	return all
}

// distinct keeps the first of those that are one word: it can be of several vocabularies.
func distinct(all []candidate) []candidate {
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(c candidate) bool {
		again := seen[c.word]
		seen[c.word] = true
		return again
	})
}
