package dashboards_test

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"routewatch/dashboards"
)

// tested are the promtool tests of a file.
type tested struct {
	Tests []struct {
		Rules []struct {
			Alertname string `json:"alertname"`
			Alerts    []any  `json:"exp_alerts"`
		} `json:"alert_rule_test"`
		Exprs []struct {
			Expr    string `json:"expr"`
			Samples []any  `json:"exp_samples"`
		} `json:"promql_expr_test"`
	} `json:"tests"`
}

var alertname = regexp.MustCompile(`alertname=~?"([^"]+)"`)

// Of every alert promtool tests the text that it fires with, and a moment at
// which it does not fire.
func TestAlerts_Tested(t *testing.T) {
	files, err := fs.Glob(dashboards.RuleTests, "rules/test/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var fires []string
	var silent []*regexp.Regexp
	for _, name := range files {
		raw, err := fs.ReadFile(dashboards.RuleTests, name)
		if err != nil {
			t.Fatal(err)
		}
		var file tested
		if err := yaml.Unmarshal(raw, &file); err != nil {
			t.Fatal(err)
		}
		for _, test := range file.Tests {
			for _, r := range test.Rules {
				if len(r.Alerts) > 0 {
					fires = append(fires, r.Alertname)
				}
			}
			for _, e := range test.Exprs {
				if m := alertname.FindStringSubmatch(e.Expr); m != nil && len(e.Samples) == 0 {
					silent = append(silent, regexp.MustCompile("^(?:"+m[1]+")$"))
				}
			}
		}
	}
	for _, a := range alerts(t) {
		if !slices.Contains(fires, a.Alert) {
			t.Errorf("no test in rules/test has the text of %s", a.Alert)
		}
		if !slices.ContainsFunc(silent, func(r *regexp.Regexp) bool { return r.MatchString(a.Alert) }) {
			t.Errorf("no test in rules/test says when %s does not fire", a.Alert)
		}
	}
}

var (
	modifier   = regexp.MustCompile(`\b(by|without|on)\s*\(([^)]*)\)`)
	aggregator = regexp.MustCompile(`\b(?:sum|min|max|avg|count|group|topk|bottomk|quantile)\s*(by|without)?\s*\(`)
)

// A Prometheus can watch several clusters, and their nodes can have the same
// names: no rule mixes two of them.
func TestRules_Cluster(t *testing.T) {
	var file ruleFile
	if err := yaml.UnmarshalStrict(dashboards.Rules, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			for _, m := range modifier.FindAllStringSubmatch(r.Expr, -1) {
				// absent() knows of no cluster: there, any target is enough.
				if !strings.HasPrefix(m[2], "cluster") && m[0] != "on (job)" {
					t.Errorf("%s%s loses the cluster: %s", r.Record, r.Alert, m[0])
				}
			}
			for _, m := range aggregator.FindAllStringSubmatch(r.Expr, -1) {
				if m[1] != "by" {
					t.Errorf("%s%s adds up all clusters: %s", r.Record, r.Alert, m[0])
				}
			}
		}
	}
}
