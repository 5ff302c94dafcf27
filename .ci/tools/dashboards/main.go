// Dashboards checks Grafana dashboards: each is decoded by Grafana's own schema,
// which knows every field, and each query is parsed by Prometheus' own parser.
//
//	dashboards FILE...
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	failed := len(os.Args) < 2
	for _, file := range os.Args[1:] {
		for _, problem := range check(file) {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %s\n", file, problem)
		}
	}
	if failed {
		fmt.Fprintln(os.Stderr, "usage: dashboards FILE...; see the lines above")
		os.Exit(1)
	}
	fmt.Printf("%d dashboards are as Grafana and Prometheus want them\n", len(os.Args)-1)
}

func check(file string) (problems []string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return []string{err.Error()}
	}
	var d dashboard.Dashboard
	problems = append(problems, strict("it", d.UnmarshalJSONStrict(raw))...)
	problems = append(problems, strict("it", d.Validate())...)
	var board struct {
		Panels []struct {
			Type, Title string
			Options     json.RawMessage
			FieldConfig struct {
				Defaults struct{ Custom json.RawMessage }
			}
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		return append(problems, err.Error())
	}
	queries := 0
	for _, p := range board.Panels {
		problems = append(problems, panel(p.Type, p.Title, p.Options, p.FieldConfig.Defaults.Custom)...)
		for _, q := range p.Targets {
			queries++
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(filled(q.Expr)); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v: %s", p.Title, err, q.Expr))
			}
		}
	}
	if queries == 0 {
		problems = append(problems, "it asks nothing: can this check still read it?")
	}
	return problems
}

// options and custom of a panel, by its type, as its plugin has them.
func panel(kind, title string, options, custom json.RawMessage) (problems []string) {
	type decoder interface{ UnmarshalJSONStrict(raw []byte) error }
	var both [2]decoder
	switch kind {
	case "stat":
		both[0] = &stat.Options{}
	case "bargauge":
		both[0] = &bargauge.Options{}
	case "table":
		both[0] = &table.Options{}
	case "timeseries":
		both = [2]decoder{&timeseries.Options{}, &timeseries.FieldConfig{}}
	case "state-timeline":
		both = [2]decoder{&statetimeline.Options{}, &statetimeline.FieldConfig{}}
	default:
		return []string{fmt.Sprintf("%s: this check knows no panels of type %q", title, kind)}
	}
	for i, raw := range []json.RawMessage{options, custom} {
		if both[i] != nil && len(raw) > 0 {
			problems = append(problems, strict(title, both[i].UnmarshalJSONStrict(raw))...)
		}
	}
	return problems
}

// strict says what the schema complains of; no complaint is an empty error there.
func strict(where string, err error) []string {
	if err == nil || err.Error() == "" {
		return nil
	}
	return []string{where + ": " + err.Error()}
}

// filled has values for the variables, as Grafana sends them.
func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$cluster", ".*", "$job", "routewatch", "$node", ".*").Replace(expr)
}
