// Package api serves the latest snapshot and the last events over HTTP: JSON
// documents below /api/v1, a stream of events, two probes, and the page.
// It reads one pointer a request and holds no state but the number of streams.
package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"routewatch/exporter/internal/eventlog"
	"routewatch/exporter/internal/page"
	"routewatch/shared/wire"
)

// MaxIdle is how long the engine's loop may not have turned before the
// exporter says that it is not healthy.
const MaxIdle = 15 * time.Second

// Config is what the handler serves. All fields but Version are required.
type Config struct {
	Latest func() *wire.Snapshot
	// Version is the exporter's own, "" if none was stamped into it.
	Version string
	// Idle says how long ago the engine's loop turned last.
	Idle        func() time.Duration
	Metrics     http.Handler
	MetricsPath string
	Events      *eventlog.Log
	// History is the state of the history's file, nil if there is none.
	History func() *wire.History
	// Explain says what is known of an address.
	Explain func(context.Context, netip.Addr) wire.Explanation
	// Stop is closed when streams have to end.
	Stop <-chan struct{}
}

type handler struct {
	Config
	streams chan struct{} // one for each open stream
}

// Handler returns all that the exporter serves. Every error is a problem
// document (RFC 9457).
func Handler(cfg Config) http.Handler {
	h := handler{Config: cfg, streams: make(chan struct{}, maxStreams)}
	mux := http.NewServeMux()
	for path, f := range h.routes() {
		mux.HandleFunc(path, readOnly(f))
	}
	mux.HandleFunc("/", notFound)
	return headers(mux)
}

func (h handler) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		h.MetricsPath:          h.Metrics.ServeHTTP,
		"/api/v1/status":       h.status,
		"/api/v1/leases":       h.leases,
		"/api/v1/events":       h.events,
		"/api/v1/explain":      h.explain,
		"/api/v1/openapi.json": h.openapi,
		"/-/healthy":           h.healthy,
		"/-/ready":             h.ready,
		"/{$}":                 page.Index(func() string { return h.Latest().Node }, h.MetricsPath),
		"/page/{file}":         page.File(notFound),
	}
}

// headers sets what holds for every answer: it is true only now, and a browser
// must not take it for anything but what it says it is.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// readOnly lets GET and HEAD through.
func readOnly(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			Problem(w, http.StatusMethodNotAllowed, r.Method+" is not possible here: expected GET or HEAD")
			return
		}
		next(w, r)
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	Problem(w, http.StatusNotFound, "there is nothing at "+r.URL.Path+": / lists what there is")
}

func (h handler) status(w http.ResponseWriter, r *http.Request) {
	if _, err := parameters(r); err != nil {
		Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	status := h.Latest().Status()
	status.Version, status.History = h.Version, h.History()
	reply(w, http.StatusOK, "application/json", status)
}

// Problem answers with a problem document (RFC 9457).
func Problem(w http.ResponseWriter, code int, detail string) {
	reply(w, code, "application/problem+json", wire.Problem{
		Type: "about:blank", Title: http.StatusText(code), Status: code, Detail: detail,
	})
}

// reply sends a JSON document. An error while sending means that the reader
// went away, which concerns nobody.
func reply(w http.ResponseWriter, code int, contentType string, document any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(document)
}
