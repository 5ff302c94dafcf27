package dashboards_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
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

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ Type, UID string }
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Expr       string `json:"expr"`
		Datasource struct{ Type, UID string }
	} `json:"targets"`
}

type grafana struct {
	UID           string `json:"uid"`
	SchemaVersion int    `json:"schemaVersion"`
	Editable      bool   `json:"editable"`
	Templating    struct {
		List []struct {
			Name string `json:"name"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

func dashboard(t *testing.T) grafana {
	t.Helper()
	var d grafana
	if err := json.Unmarshal(dashboards.Grafana, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("there are no panels")
	}
	return d
}

func TestDashboard_Head(t *testing.T) {
	d := dashboard(t)
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	if diff := cmp.Diff([]string{"datasource", "cluster", "job", "node"}, variables); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if d.UID != "routewatch" || d.SchemaVersion < 39 || d.Editable {
		t.Errorf("got uid %q, schema %d, editable %t; want routewatch, 39 or newer, false", d.UID, d.SchemaVersion, d.Editable)
	}
}

var window = regexp.MustCompile(`\[[^\]]*\]`)

// Every panel explains itself and asks the chosen data source for what the
// variables select.
func TestDashboard_Panels(t *testing.T) {
	kinds := []string{"stat", "timeseries", "table", "bargauge", "state-timeline"}
	for _, p := range dashboard(t).Panels {
		if !slices.Contains(kinds, p.Type) {
			t.Errorf("%s: type %q, want one of %v", p.Title, p.Type, kinds)
		}
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: want a title, a description, a unit and a query", p.ID, p.Title)
		}
		if p.Datasource.UID != "${datasource}" {
			t.Errorf("%s: data source %q, want ${datasource}", p.Title, p.Datasource.UID)
		}
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" {
				t.Errorf("%s: query of data source %q, want ${datasource}", p.Title, q.Datasource.UID)
			}
			selectors, chosen := strings.Count(q.Expr, "{"), strings.Count(q.Expr, `cluster=~"$cluster", job=~"$job", node=~"$node"}`)
			if selectors == 0 || selectors != chosen {
				t.Errorf("%s: %d of %d selectors follow the variables: %s", p.Title, chosen, selectors, q.Expr)
			}
			for _, w := range window.FindAllString(q.Expr, -1) {
				if w != "[$__rate_interval]" {
					t.Errorf("%s: window %s, want [$__rate_interval]: %s", p.Title, w, q.Expr)
				}
			}
		}
	}
}

// No two panels have one id or lie over each other.
func TestDashboard_Layout(t *testing.T) {
	ids, cells := map[int]string{}, map[string]string{}
	for _, p := range dashboard(t).Panels {
		if other, ok := ids[p.ID]; ok {
			t.Errorf("%q and %q have the id %d", other, p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W <= 0 || p.GridPos.H <= 0 {
			t.Errorf("%q does not fit: %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				cell := fmt.Sprint(x, " ", y)
				if other, ok := cells[cell]; ok {
					t.Fatalf("%q lies over %q", p.Title, other)
				}
				cells[cell] = p.Title
			}
		}
	}
}
