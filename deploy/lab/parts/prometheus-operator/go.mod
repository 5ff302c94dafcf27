// Of the Prometheus operator only the CRDs are used, which are files of its
// module; so `go mod tidy` would drop it. After a change of the version type
// `go mod download -json github.com/prometheus-operator/prometheus-operator >/dev/null`.
module routewatch/lab/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
