package dashboards_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/dashboards"
	"routewatch/shared/verdict"
)

var heading = regexp.MustCompile(`(?m)^##+ (.+)$`)

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(dashboards.Runbooks, "runbooks/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every word has its section, in the order of the vocabulary, and no section is
// left of a word that is gone.
func TestRunbooks_Words(t *testing.T) {
	for kind, words := range map[string][]verdict.Word{
		"state": verdict.States(), "effect": verdict.Effects(), "cause": verdict.Causes(), "node problem": verdict.NodeProblems(),
	} {
		var want, got []string
		for _, w := range words {
			want = append(want, w.Name)
			// The vocabulary is in one place: the page repeats it word by word.
			text := strings.Join(strings.Fields(dashboards.Section(kind, w.Name)), " ")
			if meaning := w.Title + ". " + w.Meaning; !strings.HasPrefix(text, meaning) {
				t.Errorf("%s: the section of %s begins with %.80q, want %q", dashboards.Pages[kind], w.Name, text, meaning)
			}
		}
		for _, m := range heading.FindAllStringSubmatch(page(t, dashboards.Pages[kind]), -1) {
			got = append(got, m[1])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: sections (-want +got):\n%s", dashboards.Pages[kind], diff)
		}
	}
}

// What a person on call needs of each word that is a fault.
func TestRunbooks_Parts(t *testing.T) {
	for kind, words := range map[string][]verdict.Word{
		"state": verdict.States(), "effect": verdict.Effects(), "cause": verdict.Causes(), "node problem": verdict.NodeProblems(),
	} {
		for _, w := range words {
			if w.Name == string(verdict.OK) || w.Name == string(verdict.Delivered) {
				continue
			}
			section := strings.Join(strings.Fields(dashboards.Section(kind, w.Name)), " ")
			for _, part := range []string{"Users: ", "Confirm: ", "Type: ", "Prevent: "} {
				before, after, found := strings.Cut(section, part)
				if !found || before == "" || after == "" {
					t.Errorf("%s: %s does not say %q", dashboards.Pages[kind], w.Name, part)
				}
				section = after // in this order
			}
		}
	}
	for _, a := range alerts(t) {
		text := page(t, a.Alert+".md")
		if !strings.HasPrefix(text, "# "+a.Alert+"\n\n") || !strings.Contains(text, "\n## Look\n\n```\n") {
			t.Errorf("%s.md: want its name, what it means, and below Look what to type", a.Alert)
		}
	}
}

var (
	link   = regexp.MustCompile(`\]\(([^)]+)\)`)
	strict = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are those that GitHub makes of the headings of a page.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		found[strings.ReplaceAll(strict.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return found
}

// Every link of a runbook leads to a page and a heading that are there.
func TestRunbooks_Links(t *testing.T) {
	pages, err := fs.Glob(dashboards.Runbooks, "runbooks/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("got pages %v, error %v", pages, err)
	}
	links := 0
	for _, name := range pages {
		for _, m := range link.FindAllStringSubmatch(page(t, strings.TrimPrefix(name, "runbooks/")), -1) {
			links++
			target, anchor, _ := strings.Cut(m[1], "#")
			text, err := fs.ReadFile(dashboards.Runbooks, "runbooks/"+target)
			if err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			} else if anchor != "" && !anchors(string(text))[anchor] {
				t.Errorf("%s: the link %s leads to no heading", name, m[1])
			}
		}
	}
	if links < 10 {
		t.Errorf("only %d links were found: can this test still read them?", links)
	}
}

// No alert name is mentioned that does not exist.
func TestRunbooks_Alerts(t *testing.T) {
	known := map[string]bool{}
	for _, a := range alerts(t) {
		known[a.Alert] = true
	}
	name := regexp.MustCompile(`Routewatch[A-Z][A-Za-z]+`)
	pages, _ := fs.Glob(dashboards.Runbooks, "runbooks/*.md")
	for _, p := range pages {
		for _, found := range name.FindAllString(page(t, strings.TrimPrefix(p, "runbooks/")), -1) {
			if !known[found] {
				t.Errorf("%s names %s, and there is no such alert", p, found)
			}
		}
	}
}
