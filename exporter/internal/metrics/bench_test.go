package metrics_test

import (
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"routewatch/exporter/internal/metrics"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func BenchmarkScrape(b *testing.B) {
	broken5000 := snapshot(5000)
	for i, l := range broken5000.Leases {
		broken5000.Leases[i] = broken(l, time.Duration(i)*time.Second, verdict.Leaking)
	}
	for _, bb := range []struct {
		name     string
		snapshot *wire.Snapshot
	}{{"healthy50", snapshot(50)}, {"healthy5000", snapshot(5000)}, {"broken5000", summarized(broken5000)}} {
		b.Run(bb.name, func(b *testing.B) {
			h := metrics.Handler(registry(bb.snapshot), slog.New(slog.DiscardHandler))
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
				b.ReportMetric(float64(w.Body.Len()), "B/scrape")
			}
		})
	}
}
