// Package dashboards holds what shows routewatch's metrics to people: the
// Grafana dashboard, the Prometheus rules and the runbooks of the alerts.
package dashboards

import "embed"

// Grafana is the dashboard, in the JSON that Grafana imports.
//
//go:embed routewatch.json
var Grafana []byte

// Rules are the recording rules and alerts, as a Prometheus rules file.
//
//go:embed rules/routewatch.rules.yaml
var Rules []byte

// RuleTests are promtool's tests of the rules.
//
//go:embed rules/test/*.yaml
var RuleTests embed.FS

// Runbooks has one page for each alert, runbooks/ALERTNAME.md.
//
//go:embed runbooks/*.md
var Runbooks embed.FS

// RunbookBase is where the runbooks are published.
const RunbookBase = "https://github.com/routewatch/routewatch/blob/main/dashboards/runbooks/"
