package dashboards_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"routewatch/dashboards"
)

type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Record      string            `json:"record"`
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var file ruleFile
	if err := yaml.UnmarshalStrict(dashboards.Rules, &file); err != nil {
		t.Fatal(err)
	}
	var found []rule
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				found = append(found, r)
			}
		}
	}
	if len(found) == 0 {
		t.Fatal("there are no alerts")
	}
	return found
}

// Every alert says how bad it is, what to do, and leads to a page that exists;
// and no page is left of an alert that is gone.
func TestAlerts_Runbooks(t *testing.T) {
	var want []string
	for _, a := range alerts(t) {
		page := a.Alert + ".md"
		if !slices.Contains(want, "runbooks/"+page) {
			want = append(want, "runbooks/"+page)
		}
		if got := a.Annotations["runbook_url"]; got != dashboards.RunbookBase+page {
			t.Errorf("%s: got runbook_url %q, want %q", a.Alert, got, dashboards.RunbookBase+page)
		}
		text, err := fs.ReadFile(dashboards.Runbooks, "runbooks/"+page)
		if err != nil {
			t.Errorf("%s: %v", a.Alert, err)
		} else if !strings.HasPrefix(string(text), "# "+a.Alert+"\n") {
			t.Errorf("runbooks/%s does not begin with the name of its alert", page)
		}
		// Every reason has its line in the runbook.
		if reason := a.Labels["reason"]; !strings.Contains(string(text), reason) {
			t.Errorf("runbooks/%s does not explain the reason %q", page, reason)
		}
	}
	got, err := fs.Glob(dashboards.Runbooks, "runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range dashboards.Pages {
		want = append(want, "runbooks/"+page)
	}
	want = append(want, "runbooks/prevent.md")
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runbooks (-want +got):\n%s", diff)
	}
}

func TestAlerts_Fields(t *testing.T) {
	severities := map[string]string{}
	for _, a := range alerts(t) {
		s := a.Labels["severity"]
		if !slices.Contains([]string{"critical", "warning", "info"}, s) {
			t.Errorf("%s: severity is %q, want critical, warning or info", a.Alert, s)
		}
		if other, ok := severities[a.Alert]; ok && other != s {
			t.Errorf("%s has the severities %s and %s: where critical inhibits warning by the name, one node hides the others", a.Alert, other, s)
		}
		severities[a.Alert] = s
		if a.For == "" {
			t.Errorf("%s fires at once: a flap would page", a.Alert)
		}
		if s := a.Annotations["summary"]; s == "" || strings.Contains(s, "{{") {
			t.Errorf("%s: the summary is %q, want one without a template, so that alerts can be grouped by it", a.Alert, s)
		}
		if !strings.Contains(a.Annotations["description"], "kubectl") {
			t.Errorf("%s: the description does not say what to type", a.Alert)
		}
	}
}
