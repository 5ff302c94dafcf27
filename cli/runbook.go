package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"routewatch/dashboards"
	"routewatch/shared/verdict"
)

const runbookHelp = `Explains a word that routewatch uses (a state, an effect, a cause, ...) or an
alert, without a network: the texts are in this program.

Examples:
  routewatch runbook leaking
  routewatch runbook RoutewatchFlannelRoutesMissing
  routewatch runbook                 lists all words`

// vocabularies are all words, by what they are.
func vocabularies() []struct {
	kind  string
	words []verdict.Word
} {
	return []struct {
		kind  string
		words []verdict.Word
	}{
		{"state", verdict.States()}, {"effect", verdict.Effects()}, {"cause", verdict.Causes()},
		{"node problem", verdict.NodeProblems()}, {"event", verdict.EventTypes()},
	}
}

func runbookCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "runbook",
		Usage:       "what a word or an alert means, and what to do",
		ArgsUsage:   "[WORD]",
		Description: runbookHelp,
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usagef("unexpected argument %q: runbook explains one word", c.Args().Get(1))
			}
			if c.NArg() == 0 {
				return write(sys.stdout, allWords())
			}
			text, err := runbook(c.Args().First())
			if err != nil {
				return err
			}
			return write(sys.stdout, text)
		},
	}
}

// runbook explains a word, which can be one of several vocabularies.
func runbook(word string) (string, error) {
	if page, err := dashboards.Runbooks.ReadFile("runbooks/" + word + ".md"); err == nil {
		return string(page), nil
	}
	var b strings.Builder
	for _, v := range vocabularies() {
		for _, w := range v.words {
			if w.Name == word {
				text := cmp.Or(plainText(dashboards.Section(v.kind, w.Name)), w.Title+". "+w.Meaning)
				fmt.Fprintf(&b, "%s %s\n%s\n\n", v.kind, w.Name, text)
			}
		}
	}
	if b.Len() == 0 {
		return "", usagef("there is no word %q%s; all words: routewatch runbook", word, didYouMean(word, names()))
	}
	return b.String() + "What is wrong now, and what to type: routewatch status\n", nil
}

var link = regexp.MustCompile(`\[([^\]]*)\]\(([^)#]*)(?:#[^)]*)?\)`)

// plainText is Markdown without what only a browser follows: a link to another
// page is how to print that page.
func plainText(section string) string {
	return link.ReplaceAllStringFunc(section, func(found string) string {
		parts := link.FindStringSubmatch(found)
		page := strings.TrimSuffix(parts[2], ".md")
		if strings.TrimSuffix(parts[1], ".md") == page {
			return "`routewatch runbook " + page + "`"
		}
		return parts[1] + " (`routewatch runbook " + page + "`)"
	})
}

// names are those of all words and alerts.
func names() []string {
	all := append(alerts(), "prevent")
	for _, v := range vocabularies() {
		for _, w := range v.words {
			all = append(all, w.Name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func alerts() []string {
	var all []string
	pages, _ := dashboards.Runbooks.ReadDir("runbooks") // it is in the program
	for _, page := range pages {
		if name := strings.TrimSuffix(page.Name(), ".md"); strings.HasPrefix(name, "Routewatch") {
			all = append(all, name)
		}
	}
	return all
}

func allWords() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-13s %s\n", "alert", strings.Join(alerts(), " "))
	fmt.Fprintf(&b, "%-13s %s\n", "page", "prevent")
	for _, v := range vocabularies() {
		var words []string
		for _, w := range v.words {
			words = append(words, w.Name)
		}
		fmt.Fprintf(&b, "%-13s %s\n", v.kind, strings.Join(words, " "))
	}
	return b.String()
}
