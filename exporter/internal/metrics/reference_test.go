package metrics_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// The page of all metrics says what the exporter says of them, and leaves none
// out; those of Go and of the process are documented elsewhere.
func TestContract_Reference(t *testing.T) {
	s := snapshot(2)
	s.Leases[0] = broken(s.Leases[0], time.Minute, verdict.Leaking)
	s.NodeProblems = []wire.NodeProblem{{Problem: verdict.DeviceMAC}}
	s.NodeJudged = true
	families, err := registry(summarized(s)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Metrics\n\nMade by `go test ./exporter/internal/metrics -update`. A healthy node has the same series at 5 leases and at\n" +
		"5,000; `lease`, `peer` and the like are only on what is bad. The collectors of Go and of the process come on top.\n\n" +
		"| metric | type | labels | what |\n|---|---|---|---|\n")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "routewatch_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		slices.Sort(labels)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, " "), f.GetHelp())
	}
	golden(t, "../../../../dashboards/metrics.md", b.String())
}

var metricName = regexp.MustCompile(`\broutewatch_[a-z_]+\b`)

// The runbooks and the README name only metrics that the exporter has.
func TestContract_Pages(t *testing.T) {
	pages, err := filepath.Glob("../../../dashboards/runbooks/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("got pages %v, error %v", pages, err)
	}
	metrics := exported(t)
	named := 0
	for _, name := range append(pages, "../../../README.md", "../../../CHANGELOG.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range metricName.FindAllString(string(text), -1) {
			named++
			if _, ok := metrics[m]; !ok {
				t.Errorf("%s names %s, and there is no such metric", filepath.Base(name), m)
			}
		}
	}
	if named < 3 {
		t.Errorf("only %d metrics were found: can this test still read the pages?", named)
	}
}
