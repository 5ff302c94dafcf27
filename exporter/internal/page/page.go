// Package page is the node's page for a browser: what /api/v1 says, live. It is
// plain HTML, CSS and JavaScript, embedded as it stands here; nothing comes from
// elsewhere. Its URLs are relative, since it is also read through the API
// server's pod proxy, below another path.
package page

import (
	"embed"
	"html/template"
	"net/http"
	"path"
	"strings"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

//go:embed index.html
var indexHTML string

var index = template.Must(template.New("index").Parse(indexHTML))

//go:embed files
var files embed.FS

// policy lets the page load its own files and read its own API, nothing else:
// what a node or a process is called can do no harm, whatever the page does.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Index serves the page of a node. It knows nothing but the name and the words:
// what the node is like, the browser asks for.
func Index(node func() string, metricsPath string) http.HandlerFunc {
	all := vocabulary()
	return func(w http.ResponseWriter, _ *http.Request) {
		secure(w.Header())
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = index.Execute(w, struct {
			Node, Metrics string
			Words         words
			MaxAge        int64 // as wire.MaxAge, in milliseconds
		}{node(), strings.TrimPrefix(metricsPath, "/"), all, wire.MaxAge.Milliseconds()})
	}
}

// File serves the file that the path names, and with notFound what is none.
func File(notFound http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("file")
		content, err := files.ReadFile("files/" + name)
		if err != nil {
			notFound(w, r)
			return
		}
		secure(w.Header())
		w.Header().Set("Content-Type", types[path.Ext(name)])
		_, _ = w.Write(content)
	}
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
}

// types are those of the files. What the machine has in /etc/mime.types does
// not matter, and a browser takes a module only as what it is.
var types = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}

// word is an entry of the vocabulary as the page needs it.
type word struct {
	Title   string `json:"title"`
	Meaning string `json:"meaning"`
	Letter  string `json:"letter,omitempty"`  // of a state
	Bad     bool   `json:"bad,omitempty"`     // of a state
	Healthy bool   `json:"healthy,omitempty"` // of a state
	Info    bool   `json:"info,omitempty"`    // of a node problem
}

// words are the vocabulary by kind and name.
type words map[string]map[string]word

func vocabulary() words {
	all := words{}
	for kind, list := range map[string][]verdict.Word{
		"states": verdict.States(), "effects": verdict.Effects(), "causes": verdict.Causes(),
		"nodeProblems": verdict.NodeProblems(), "events": verdict.EventTypes(),
	} {
		all[kind] = map[string]word{}
		for _, w := range list {
			all[kind][w.Name] = word{Title: w.Title, Meaning: w.Meaning}
		}
	}
	for name, w := range all["states"] {
		s := verdict.State(name)
		letter, _ := s.Letter()
		w.Letter, w.Bad, w.Healthy = string(letter), s.Bad(), s.Healthy()
		all["states"][name] = w
	}
	for name, w := range all["nodeProblems"] {
		w.Info = verdict.NodeProblem(name).Info()
		all["nodeProblems"][name] = w
	}
	return all
}
