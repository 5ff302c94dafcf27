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

	"routewatch/dashboards"
)

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ Type, UID string }
	FieldConfig struct {
		Defaults struct {
			Unit     string                `json:"unit"`
			Color    struct{ Mode string } `json:"color"`
			Mappings []json.RawMessage     `json:"mappings"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Expr       string `json:"expr"`
		Datasource struct{ Type, UID string }
	} `json:"targets"`
}

type grafana struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Editable      bool   `json:"editable"`
	Templating    struct {
		List []struct {
			Name string `json:"name"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

// boards are all dashboards by their UID, which is the name of the file.
func boards(t *testing.T) map[string]grafana {
	t.Helper()
	files, err := fs.Glob(dashboards.Grafana, "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("got dashboards %v, error %v", files, err)
	}
	all := map[string]grafana{}
	for _, name := range files {
		raw, err := dashboards.Grafana.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var d grafana
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		if len(d.Panels) == 0 || d.UID+".json" != name {
			t.Fatalf("%s: uid %q, %d panels", name, d.UID, len(d.Panels))
		}
		all[d.UID] = d
	}
	return all
}

func TestDashboards_Head(t *testing.T) {
	titles := map[string]bool{}
	for uid, d := range boards(t) {
		var variables []string
		for _, v := range d.Templating.List {
			variables = append(variables, v.Name)
		}
		if diff := cmp.Diff([]string{"datasource", "cluster", "job", "node"}, variables); diff != "" {
			t.Errorf("%s: variables (-want +got):\n%s", uid, diff)
		}
		if d.SchemaVersion < 39 || d.Editable || d.Title == "" || titles[d.Title] {
			t.Errorf("%s: title %q, schema %d, editable %t; want its own title, 39 or newer, false", uid, d.Title, d.SchemaVersion, d.Editable)
		}
		titles[d.Title] = true
	}
}

// Every link to a dashboard or to a runbook leads somewhere.
func TestDashboards_Links(t *testing.T) {
	all := boards(t)
	link := regexp.MustCompile(`"url":\s*"([^"]+)"`)
	for uid := range all {
		raw, err := dashboards.Grafana.ReadFile(uid + ".json")
		if err != nil {
			t.Fatal(err)
		}
		found := link.FindAllSubmatch(raw, -1)
		if len(found) < 3 {
			t.Errorf("%s: %d links, want those to the other dashboard and to the runbooks", uid, len(found))
		}
		for _, m := range found {
			url := string(m[1])
			rest, isBoard := strings.CutPrefix(url, "/d/")
			page, isRunbook := strings.CutPrefix(url, dashboards.RunbookBase)
			page, _, _ = strings.Cut(page, "#")
			target, _, _ := strings.Cut(rest, "/")
			_, err := fs.Stat(dashboards.Runbooks, "runbooks/"+page)
			switch {
			case isBoard && all[target].UID == "", isRunbook && page != "" && err != nil, !isBoard && !isRunbook:
				t.Errorf("%s: the link %s leads nowhere", uid, url)
			}
		}
	}
}

var window = regexp.MustCompile(`\[[^\]]*\]`)

// Every panel explains itself and asks the chosen data source for what the
// variables select.
func TestDashboards_Panels(t *testing.T) {
	for uid, d := range boards(t) {
		for _, p := range d.Panels {
			p.check(t, uid)
		}
	}
}

func (p *panel) check(t *testing.T, uid string) {
	t.Helper()
	kinds := []string{"stat", "timeseries", "table", "bargauge", "state-timeline"}
	where := uid + ", " + p.Title
	if !slices.Contains(kinds, p.Type) {
		t.Errorf("%s: type %q, want one of %v", where, p.Type, kinds)
	}
	if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
		t.Errorf("%s: panel %d: want a title, a description, a unit and a query", where, p.ID)
	}
	// Grafana's state timeline merges what lies between two thresholds, and then
	// ignores the mappings: a leak was as green as the rest.
	if d := p.FieldConfig.Defaults; p.Type == "state-timeline" && (d.Color.Mode != "fixed" || len(d.Mappings) == 0) {
		t.Errorf("%s: colors by %q, want mappings and fixed", where, d.Color.Mode)
	}
	if p.Datasource.UID != "${datasource}" {
		t.Errorf("%s: data source %q, want ${datasource}", where, p.Datasource.UID)
	}
	for _, q := range p.Targets {
		if q.Datasource.UID != "${datasource}" {
			t.Errorf("%s: query of data source %q, want ${datasource}", where, q.Datasource.UID)
		}
		selectors, chosen := strings.Count(q.Expr, "{"), strings.Count(q.Expr, `cluster=~"$cluster", job=~"$job", node=~"$node"}`)
		if selectors == 0 || selectors != chosen {
			t.Errorf("%s: %d of %d selectors follow the variables: %s", where, chosen, selectors, q.Expr)
		}
		for _, w := range window.FindAllString(q.Expr, -1) {
			if w != "[$__rate_interval]" && w != "[$__range]" {
				t.Errorf("%s: window %s, want [$__rate_interval]: %s", where, w, q.Expr)
			}
		}
	}
}

// No two panels of a dashboard have one id or lie over each other.
func TestDashboards_Layout(t *testing.T) {
	for uid, d := range boards(t) {
		ids, cells := map[int]string{}, map[string]string{}
		for _, p := range d.Panels {
			if other, ok := ids[p.ID]; ok {
				t.Errorf("%s: %q and %q have the id %d", uid, other, p.Title, p.ID)
			}
			ids[p.ID] = p.Title
			if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W <= 0 || p.GridPos.H <= 0 {
				t.Errorf("%s: %q does not fit: %+v", uid, p.Title, p.GridPos)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					cell := fmt.Sprint(x, " ", y)
					if other, ok := cells[cell]; ok {
						t.Fatalf("%s: %q lies over %q", uid, p.Title, other)
					}
					cells[cell] = p.Title
				}
			}
		}
	}
}
