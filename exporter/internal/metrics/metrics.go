// Package metrics shows the latest snapshot to Prometheus. Every value but the
// detection time is a constant made from one snapshot when it is scraped, so a
// scrape is consistent in itself and what is gone from the snapshot is gone
// from the scrape.
//
// No series carries a peer, a subnet or a pid but those of broken leases: a
// healthy node has the same series with 5 leases and with 5,000.
package metrics

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"routewatch/shared/wire"
)

const namespace = "routewatch"

// Limits of one scrape: a scraper that is stuck or repeated must not pile up.
const (
	maxScrapes    = 10
	scrapeTimeout = 10 * time.Second
)

// Detection counts how long changes took from the event that announced them to
// the published snapshot.
type Detection struct{ histogram prometheus.Histogram }

// NewDetection returns a Detection that has seen nothing.
func NewDetection() *Detection {
	return &Detection{prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace,
		Name:      "detection_duration_seconds",
		Help:      "Time from receiving the kernel event that announced a change to publishing the judgment of it.",
		Buckets:   []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},

		NativeHistogramBucketFactor:    1.1,
		NativeHistogramMaxBucketNumber: 100,
	})}
}

// Observe counts one detection.
func (d *Detection) Observe(took time.Duration) { d.histogram.Observe(took.Seconds()) }

// NewRegistry returns everything that the exporter has to say of its node and
// of itself. latest must not return nil; maxProblems is how many broken leases
// are shown one by one.
func NewRegistry(latest func() *wire.Snapshot, detection *Detection, maxProblems int) *prometheus.Registry {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(
		&collector{latest, maxProblems},
		detection.histogram,
		version.NewCollector(namespace),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// RegisterHistory adds the state of the history's file, where there is one.
func RegisterHistory(registry *prometheus.Registry, status func() *wire.History) {
	registry.MustRegister(historyCollector(status))
}

// RegisterNotifications adds what became of notifications, where there are any.
// counts calls its argument for every kind and result.
func RegisterNotifications(registry *prometheus.Registry, counts func(each func(kind, result string, count uint64))) {
	registry.MustRegister(notifyCollector(counts))
}

// Handler serves the registry. One metric that cannot be made is logged and
// counted in promhttp_metric_handler_errors_total, and the others are served.
func Handler(registry *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError,
		Registry:            registry,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
		EnableOpenMetrics:   true,
	})
}
