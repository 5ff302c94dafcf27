// Package dashboards holds what shows routewatch's metrics to people: the
// Grafana dashboards, the Prometheus rules and the runbooks of the alerts.
package dashboards

import (
	"embed"
	"strings"
)

// Grafana has the dashboards, UID.json each, in the JSON that Grafana imports.
//
//go:embed *.json
var Grafana embed.FS

// Rules are the recording rules and alerts, as a Prometheus rules file.
//
//go:embed rules/routewatch.rules.yaml
var Rules []byte

// RuleTests are promtool's tests of the rules.
//
//go:embed rules/test/*.yaml
var RuleTests embed.FS

// Runbooks has one page for each alert, runbooks/ALERTNAME.md, and one for each
// vocabulary of package verdict, with a section for each word.
//
//go:embed runbooks/*.md
var Runbooks embed.FS

// Pages are those of the vocabularies.
var Pages = map[string]string{"state": "states.md", "effect": "effects.md", "cause": "causes.md", "node problem": "node-problems.md"}

// Section is what the page of a vocabulary says of a word, in Markdown; "" if
// it says nothing.
func Section(vocabulary, word string) string {
	page, err := Runbooks.ReadFile("runbooks/" + Pages[vocabulary])
	if err != nil {
		return ""
	}
	_, section, found := strings.Cut(string(page), "\n## "+word+"\n")
	if !found {
		return ""
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return strings.TrimSpace(section)
}

// RunbookBase is where the runbooks are published: the only place that says so.
// The rules, which are plain YAML, repeat it, and a test holds them to it.
const RunbookBase = "https://github.com/routewatch/routewatch/blob/main/dashboards/runbooks/"
