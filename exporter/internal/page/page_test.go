package page_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/exporter/internal/page"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func serve(node, target string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", page.Index(func() string { return node }, "/some/metrics"))
	mux.HandleFunc("/page/{file}", page.File(http.NotFound))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
	return w
}

// assets are the files of the page, by the path they are served at.
func assets(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("files/*")
	if err != nil || len(paths) < 8 {
		t.Fatalf("files of the page: %q, %v", paths, err)
	}
	all := map[string]string{}
	for _, p := range paths {
		content, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all["/page/"+filepath.Base(p)] = string(content)
	}
	return all
}

func TestFile_IsWhatIsInTheRepository(t *testing.T) {
	for target, want := range assets(t) {
		w := serve("alpha", target)
		if w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: got %d and %d bytes, want the file's %d", target, w.Code, w.Body.Len(), len(want))
		}
		if w.Header().Get("Content-Type") == "" {
			t.Errorf("%s has no Content-Type, and a browser is told not to guess", target)
		}
	}
	if w := serve("alpha", "/page/page.go"); w.Code != 404 {
		t.Errorf("a file that is none: got %d, want 404", w.Code)
	}
}

func TestHeaders(t *testing.T) {
	want := []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	}
	for _, target := range []string{"/", "/page/main.js", "/page/page.css", "/page/icon.svg"} {
		h := serve("alpha", target).Header()
		if diff := cmp.Diff(want, strings.Split(h.Get("Content-Security-Policy"), "; ")); diff != "" {
			t.Errorf("%s: policy (-want +got):\n%s", target, diff)
		}
		if got := h.Get("Referrer-Policy"); got != "no-referrer" {
			t.Errorf("%s: Referrer-Policy is %q, want no-referrer", target, got)
		}
	}
}

// Through the API server's pod proxy the page is below another path.
func TestURLs_AreRelative(t *testing.T) {
	references := regexp.MustCompile(`(?:(?:href|src)="|(?:import|from) '|get\(['` + "`]|EventSource\\(['`]" + `|url\(["']?)([^"'` + "`]+)")
	all := assets(t)
	all["/"] = serve("alpha", "/").Body.String()
	found := 0
	for target, content := range all {
		for _, m := range references.FindAllStringSubmatch(content, -1) {
			found++
			if strings.HasPrefix(m[1], "/") || strings.Contains(m[1], "//") {
				t.Errorf("%s: %s is not relative", target, m[0])
			}
		}
	}
	if found < 25 {
		t.Errorf("%d references found: the pattern does not fit the files any more", found)
	}
}

// Only text becomes part of the page: with these it could become more.
func TestFiles_WriteOnlyText(t *testing.T) {
	for target, content := range assets(t) {
		for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "setHTML", "eval(", "new Function", ".style."} {
			if strings.Contains(content, way) {
				t.Errorf("%s uses %s: write text, with el() of dom.js", target, way)
			}
		}
	}
}

// The policy forbids styles and scripts that stand in the page itself.
func TestIndex_HasNothingInline(t *testing.T) {
	html := serve("alpha", "/").Body.String()
	inline := regexp.MustCompile(`<style|\sstyle=|\son\w+=|javascript:|<script(?: type="module")?>`)
	if found := inline.FindString(html); found != "" {
		t.Errorf("the page has %q", found)
	}
	if n := strings.Count(html, "<script"); n != 2 {
		t.Errorf("%d scripts, want the words, which are data, and main.js", n)
	}
}

func TestIndex_IsNotGreenBeforeSomethingWasRead(t *testing.T) {
	html := serve("alpha", "/").Body.String()
	for _, want := range []string{`<body class="unsure">`, "<strong>NOT KNOWN</strong>", "<noscript>", `href="api/v1/status"`, "<code>routewatch status</code>", `href="some/metrics"`} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not have %s", want)
		}
	}
}

func TestIndex_ForeignNameIsText(t *testing.T) {
	html := serve(`</title><script src="//evil.example">`, "/").Body.String()
	if strings.Contains(html, "<script src=") || !strings.Contains(html, "&lt;/title&gt;") {
		t.Errorf("the node's name is not escaped:\n%.400s", html)
	}
}

// The page has every word with its title, and each state with its letter.
func TestIndex_HasTheVocabulary(t *testing.T) {
	html := serve("alpha", "/").Body.String()
	_, rest, ok := strings.Cut(html, `id="words" data-max-age="300000">`)
	data, _, closed := strings.Cut(rest, "</script>")
	if !ok || !closed || wire.MaxAge.Milliseconds() != 300_000 {
		t.Fatalf("no words, or not with wire.MaxAge: %.600s", html)
	}
	var got map[string]map[string]struct {
		Title, Meaning, Letter string
		Bad, Healthy, Info     bool
	}
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		t.Fatal(err)
	}
	for kind, words := range map[string][]verdict.Word{
		"states": verdict.States(), "effects": verdict.Effects(), "causes": verdict.Causes(),
		"nodeProblems": verdict.NodeProblems(), "events": verdict.EventTypes(),
	} {
		if len(got[kind]) != len(words) {
			t.Errorf("%s: %d words, want %d", kind, len(got[kind]), len(words))
		}
		for _, w := range words {
			if g := got[kind][w.Name]; g.Title != w.Title || g.Meaning != w.Meaning {
				t.Errorf("%s %s is %+v, want %+v", kind, w.Name, g, w)
			}
		}
	}
	for name, g := range got["states"] {
		s := verdict.State(name)
		letter, _ := s.Letter()
		if g.Letter != string(letter) || g.Bad != s.Bad() || g.Healthy != s.Healthy() {
			t.Errorf("state %s is %+v", name, g)
		}
	}
	for name, g := range got["nodeProblems"] {
		if g.Info != verdict.NodeProblem(name).Info() {
			t.Errorf("node problem %s is %+v", name, g)
		}
	}
}
