package metrics_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"routewatch/dashboards"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// The contract between the exporter and what reads its metrics: the rules, the
// tests of the rules and the dashboards name only what there is. The expressions
// are read with regular expressions, since a parser of PromQL would bring all of
// Prometheus into go.mod; `make rules` parses the rules with Prometheus' own.

// targetLabels are those that a scrape adds: see deploy/monitoring/podmonitor.yaml.
var targetLabels = []string{"cluster", "namespace", "job", "node", "instance", "pod"}

// words are the values that a label can have.
var words = map[string][]string{
	"state":   names(verdict.States()),
	"effect":  names(verdict.Effects()),
	"cause":   names(verdict.Causes()),
	"problem": names(verdict.NodeProblems()),
	"family":  {"ipv4", "ipv6"},
}

func names(words []verdict.Word) []string {
	var all []string
	for _, w := range words {
		all = append(all, w.Name)
	}
	return all
}

// exported are the metrics with their labels.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	s := snapshot(2)
	s.Leases[0] = broken(s.Leases[0], time.Minute, verdict.Leaking)
	s.NodeProblems = []wire.NodeProblem{{Problem: verdict.DeviceMAC}}
	s.NodeJudged = true
	families, err := registry(summarized(s)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{"up": nil, "ALERTS": {"alertname", "alertstate", "severity", "reason", "family"}}
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		found[f.GetName()] = labels
		if f.GetMetric()[0].GetHistogram() != nil {
			found[f.GetName()+"_bucket"] = append(labels, "le")
			found[f.GetName()+"_sum"], found[f.GetName()+"_count"] = labels, labels
		}
	}
	return found
}

var (
	// metric is a name, and its matchers if it has any. A selector is a metric
	// if it has matchers, or if its name begins as those of an exporter do.
	metric = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})?`)
	// matcher is one of the conditions between the braces.
	matcher = regexp.MustCompile(`([a-z_]+)(=~|!~|!=|=)"([^"]*)"`)
	// grouping are the labels of by, without, on and ignoring.
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	prefixes = []string{"routewatch_", "node_family:", "node_peer_family:", "peer:", "cluster:", "process_", "go_"}
)

// violations lists what an expression names that is not there.
func violations(expr string, metrics map[string][]string) (found []string, seen int) {
	for _, m := range metric.FindAllStringSubmatch(expr, -1) {
		name, matchers := m[1], m[2]
		if matchers == "" && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		labels, ok := metrics[name]
		if !ok {
			found = append(found, "no metric "+name)
			continue
		}
		seen++
		for _, m := range matcher.FindAllStringSubmatch(matchers, -1) {
			label, value := m[1], m[3]
			if !slices.Contains(labels, label) && !slices.Contains(targetLabels, label) {
				found = append(found, fmt.Sprintf("%s has no label %s", name, label))
			}
			for word := range strings.SplitSeq(value, "|") {
				if known := words[label]; known != nil && !slices.Contains(known, word) && !strings.ContainsAny(word, "%$") {
					found = append(found, fmt.Sprintf("%s is never %q", label, word))
				}
			}
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			label = strings.TrimSpace(label)
			known := label == "" || slices.Contains(targetLabels, label) // on () has none
			for _, labels := range metrics {
				known = known || slices.Contains(labels, label)
			}
			if !known {
				found = append(found, "no metric has a label "+label)
			}
		}
	}
	return found, seen
}

// check reports what the expressions of one file violate.
func check(t *testing.T, where string, exprs []string, metrics map[string][]string) {
	t.Helper()
	total := 0
	for _, e := range exprs {
		found, seen := violations(e, metrics)
		total += seen
		for _, v := range found {
			t.Errorf("%s: %s, in %s", where, v, strings.TrimSpace(e))
		}
	}
	if total < len(exprs)/2 {
		t.Errorf("%s: only %d metrics found in %d expressions: can this test still read them?", where, total, len(exprs))
	}
}

func TestContract_Rules(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Record, Expr string
				Annotations  map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(dashboards.Rules, &file); err != nil {
		t.Fatal(err)
	}
	metrics := exported(t)
	var exprs []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			exprs = append(exprs, r.Expr)
			if r.Record != "" {
				metrics[r.Record] = []string{"family", "peer"}
			}
			// The queries in templates; their matchers come from printf.
			for line := range strings.Lines(r.Annotations["description"]) {
				if strings.Contains(line, "query (printf") {
					exprs = append(exprs, line)
				}
			}
		}
	}
	check(t, "routewatch.rules.yaml", exprs, metrics)
}

func TestContract_RuleTests(t *testing.T) {
	files, err := fs.Glob(dashboards.RuleTests, "rules/test/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got tests %v, error %v", files, err)
	}
	for _, name := range files {
		raw, err := fs.ReadFile(dashboards.RuleTests, name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Tests []struct {
				InputSeries []struct{ Series string } `json:"input_series"`
			}
		}
		if err := yaml.Unmarshal(raw, &file); err != nil {
			t.Fatal(err)
		}
		var series []string
		for _, test := range file.Tests {
			for _, s := range test.InputSeries {
				// Words that only a newer exporter would know are what some tests are about.
				if !strings.Contains(s.Series, `="a_new_word"`) {
					series = append(series, s.Series)
				}
			}
		}
		check(t, name, series, exported(t))
	}
}

func TestContract_Dashboards(t *testing.T) {
	files, err := fs.Glob(dashboards.Grafana, "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("got dashboards %v, error %v", files, err)
	}
	for _, name := range files {
		raw, err := dashboards.Grafana.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		check(t, name, dashboardExprs(t, raw), exported(t))
	}
}

func dashboardExprs(t *testing.T, raw []byte) (exprs []string) {
	t.Helper()
	var file struct {
		Templating struct {
			List []struct{ Definition string }
		}
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, v := range file.Templating.List {
		if v.Definition != "" {
			exprs = append(exprs, v.Definition)
		}
	}
	for _, p := range file.Panels {
		for _, q := range p.Targets {
			exprs = append(exprs, q.Expr)
		}
	}
	return exprs
}

// The test of the test: what it must find.
func TestViolations(t *testing.T) {
	for expr, want := range map[string]string{
		`sum(routewatch_routes_missing{job="x"})`:                     "",
		`up{job="routewatch"} == 0`:                                   "",
		`sum(routewatch_route_missing)`:                               "no metric routewatch_route_missing",
		`node_family:gone:sum > 0`:                                    "no metric node_family:gone:sum",
		`routewatch_leases{kind="x"}`:                                 "routewatch_leases has no label kind",
		`routewatch_leases{state!~"ok|pendin"}`:                       `state is never "pendin"`,
		`sum by (famly) (routewatch_leases)`:                          "no metric has a label famly",
		`routewatch_leases and ignoring (familie) up`:                 "no metric has a label familie",
		`rate(routewatch_detection_duration_seconds_buckets{le="1"})`: "no metric routewatch_detection_duration_seconds_buckets",
	} {
		found, _ := violations(expr, exported(t))
		if got := strings.Join(found, "; "); got != want {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}
