package api

import (
	_ "embed"
	"html/template"
	"net/http"

	"routewatch/shared/wire"
)

//go:embed index.html
var indexHTML string

var indexPage = template.Must(template.New("index").Parse(indexHTML))

// index is the page of links for whoever opens the address in a browser.
func (h handler) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_ = indexPage.Execute(w, struct {
		*wire.Snapshot
		MetricsPath string
	}{h.Latest(), h.MetricsPath})
}
