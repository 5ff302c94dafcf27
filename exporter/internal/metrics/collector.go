package metrics

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// kernelSource is the name of the wire.Source that is not a lease source.
const kernelSource = "kernel"

// collector makes metrics of the latest snapshot.
type collector struct {
	latest      func() *wire.Snapshot
	maxProblems int
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range catalog {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What is not known has no series,
// since a zero would look like good news.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, out := c.latest(), sink(ch)
	source := leaseSource(s)
	out.gauge(nodeInfo, 1, s.Node, s.Backend, vniText(s.VNI), source.Name)
	out.gauge(snapshotComplete, boolean(s.Complete))
	out.gauge(sourceUp, boolean(source.Complete), source.Name)
	out.timestamp(sourceSync, source.LastSync)
	out.timestamp(sourceWritten, source.Written)
	if s.LeasesRead {
		out.gauge(ownLeaseKnown, boolean(s.OwnLeaseKnown))
		out.leases(s)
		out.problems(s, c.maxProblems)
	}
	if kernelKnown(s) {
		out.devices(s.Devices)
	}
	if s.NodeJudged {
		out.nodeProblems(s.NodeProblems)
	}
	if s.LeasesRead && s.KernelRead && kernelKnown(s) {
		out.objects(s)
	}
	out.totals(s)
}

// historyCollector makes metrics of the state of the history's file.
type historyCollector func() *wire.History

// Describe implements prometheus.Collector.
func (c historyCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range historyCatalog {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c historyCollector) Collect(ch chan<- prometheus.Metric) {
	h, out := c(), sink(ch)
	out.counter(historyErrors, h.WriteErrors)
	out.counter(historyLost, h.Lost)
	out.gauge(historySize, float64(h.Bytes))
}

// notifyCollector makes metrics of what became of notifications.
type notifyCollector func(each func(kind, result string, count uint64))

// Describe implements prometheus.Collector.
func (c notifyCollector) Describe(ch chan<- *prometheus.Desc) { ch <- notifications }

// Collect implements prometheus.Collector.
func (c notifyCollector) Collect(ch chan<- prometheus.Metric) {
	c(func(kind, result string, count uint64) { sink(ch).counter(notifications, count, kind, result) })
}

// kernelKnown reports whether the kernel can be read now.
func kernelKnown(s *wire.Snapshot) bool {
	return slices.ContainsFunc(s.Sources, func(o wire.Source) bool { return o.Name == kernelSource && o.Complete })
}

func leaseSource(s *wire.Snapshot) wire.Source {
	for _, o := range s.Sources {
		if o.Name != kernelSource {
			return o
		}
	}
	return wire.Source{}
}

// sink is where metrics go.
type sink chan<- prometheus.Metric

func (out sink) leases(s *wire.Snapshot) {
	for _, f := range s.Summary.Families {
		for _, w := range verdict.States() {
			out.gauge(leases, float64(f.States[verdict.State(w.Name)]), f.Family.String(), w.Name)
		}
		for _, w := range verdict.Effects() {
			out.gauge(leaseEffects, float64(f.Effects[verdict.Effect(w.Name)]), f.Family.String(), w.Name)
		}
	}
}

// problems shows the worst broken leases one by one. Leases whose labels are
// the same, which only a broken source can hold, share a series.
func (out sink) problems(s *wire.Snapshot, most int) {
	worst, total := s.Problems(most, verdict.State.Bad)
	shown := map[[6]string]bool{}
	for _, l := range worst {
		labels := [6]string{l.Family.String(), "", label(l.Peer), string(l.State), string(l.Effect), string(l.Cause)}
		if l.Lease.IsValid() {
			labels[1] = l.Lease.String()
		}
		if !shown[labels] {
			shown[labels] = true
			out.timestamp(problemStart, l.Since, labels[:]...)
		}
	}
	out.gauge(problemsTruncated, float64(total-len(worst)))
}

func (out sink) devices(devices []wire.Device) {
	up := map[string]bool{} // one device can serve both families
	for _, d := range devices {
		was, seen := up[d.Name]
		up[d.Name] = d.Present && d.Up && (was || !seen)
	}
	for name, up := range up {
		out.gauge(deviceUp, boolean(up), name)
	}
}

func (out sink) nodeProblems(problems []wire.NodeProblem) {
	for _, w := range verdict.NodeProblems() {
		has := slices.ContainsFunc(problems, func(p wire.NodeProblem) bool { return string(p.Problem) == w.Name })
		out.gauge(nodeProblem, boolean(has), w.Name)
	}
}

func (out sink) objects(s *wire.Snapshot) {
	for _, f := range s.Summary.Families {
		family := f.Family.String()
		out.gauge(routesExpected, float64(f.Expected), family)
		out.gauge(routesPresent, float64(f.Present), family)
		out.gauge(routesMissing, float64(f.Missing), family)
		for _, kind := range wire.StaleKinds {
			out.gauge(staleObjects, float64(f.Stale[kind]), family, string(kind))
		}
	}
}

func (out sink) totals(s *wire.Snapshot) {
	for _, w := range verdict.Causes() {
		out.counter(incidents, s.IncidentsTotal[w.Name], w.Name)
	}
	c := s.Counters
	out.routeEvents(netstate.IPv4, c.IPv4Routes)
	out.routeEvents(netstate.IPv6, c.IPv6Routes)
	for _, reason := range resyncReasons {
		out.counter(resyncs, c.Resyncs[reason], reason)
	}
	for reason, n := range c.Resyncs {
		if !slices.Contains(resyncReasons, reason) {
			out.counter(resyncs, n, reason)
		}
	}
	out.counter(auditDrift, c.AuditDrift)
	out.counter(overruns, c.Overruns)
	if c.ReceiveBytes > 0 {
		out.gauge(receiveBuffer, float64(c.ReceiveBytes))
		out.gauge(filterActive, boolean(c.Filtered))
	}
	out.timestamp(lastAudit, c.LastAudit)
}

func (out sink) routeEvents(f netstate.Family, n netstate.RouteEvents) {
	out.counter(routeEvents, n.Added, f.String(), "added")
	out.counter(routeEvents, n.Replaced, f.String(), "replaced")
	out.counter(routeEvents, n.Deleted, f.String(), "deleted")
}

func (out sink) gauge(d *prometheus.Desc, value float64, labels ...string) {
	out.metric(d, prometheus.GaugeValue, value, labels)
}

func (out sink) counter(d *prometheus.Desc, value uint64, labels ...string) {
	out.metric(d, prometheus.CounterValue, float64(value), labels)
}

// timestamp leaves out what never happened.
func (out sink) timestamp(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		out.metric(d, prometheus.GaugeValue, float64(t.UnixMilli())/1e3, labels)
	}
}

func (out sink) metric(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	for i := range labels {
		labels[i] = label(labels[i])
	}
	out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
}

// label makes a valid label value of whatever a lease source holds.
func label(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func vniText(vni uint32) string {
	if vni == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(vni), 10)
}
