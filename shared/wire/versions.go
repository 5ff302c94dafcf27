package wire

import "time"

// KindVersions is the kind of Versions.
const KindVersions = "Versions"

// Versions are those of routewatch and of the exporters: `routewatch version -o json`.
type Versions struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Time       time.Time `json:"time"`
	Client     Build     `json:"client"`
	// Items are the exporters that answered, by node; none if none was asked.
	Items       []ExporterVersion `json:"items"`
	Unreachable []Unreachable     `json:"unreachable"`
	Problem     string            `json:"problem,omitempty"`
}

// Build is what is known of a program.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"goVersion"`
	Platform string `json:"platform"`
}

// ExporterVersion is that of one exporter.
type ExporterVersion struct {
	Node     string `json:"node"`
	Exporter string `json:"exporter"`          // its URL, or its pod as NAMESPACE/NAME
	Version  string `json:"version,omitempty"` // absent if it does not say it
}
