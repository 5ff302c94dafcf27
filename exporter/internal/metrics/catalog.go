package metrics

import "github.com/prometheus/client_golang/prometheus"

// The metrics that are made from a snapshot. Descriptions never change.
var (
	nodeInfo = describe("node_info",
		"Always 1; names this node, its flannel backend and VNI (empty while unknown), and where the leases come from.",
		"nodename", "backend", "vni", "lease_source")
	snapshotComplete = describe("snapshot_complete",
		"1 if both the leases and the kernel could be read, 0 if not; then no other value can be trusted to be up to date.")

	leases = describe("leases",
		"Leases of other nodes by what this node's kernel makes of them. Only ok, pending and unsupported are well.",
		"family", "state")
	leaseEffects = describe("lease_effects",
		"Leases of other nodes by what happens to a packet that is sent there now.",
		"family", "effect")
	problemStart = describe("lease_problem_start_timestamp_seconds",
		"Since when a lease is broken. Only while it is; the worst ones first, up to --metrics.max-problems.",
		"family", "lease", "peer", "state", "effect", "cause")
	problemsTruncated = describe("lease_problems_truncated",
		"Broken leases that have no routewatch_lease_problem_start_timestamp_seconds because there are too many.")

	routesExpected = describe("routes_expected",
		"Routes to other nodes' subnets that flannel should have programmed.", "family")
	routesPresent = describe("routes_present",
		"Expected routes that are in a routing table. This alone does not mean that packets arrive: see routewatch_leases.", "family")
	routesMissing = describe("routes_missing",
		"Expected routes that are in no routing table.", "family")
	staleObjects = describe("stale_objects",
		"Routes, neighbors, forwarding entries and WireGuard peers of flannel's form that no lease explains. They are no fault.",
		"family", "kind")

	deviceUp = describe("device_up",
		"1 if the flannel device is there and set up, 0 if not.", "device")
	nodeProblem = describe("node_problem",
		"1 if this node itself has the problem, whatever its leases say, else 0. device_mtu is only information.", "problem")

	ownLeaseKnown = describe("own_lease_known",
		"1 if this node's own lease is among the leases that were read, 0 if not: flannel does not run here, or "+
			"--node-name or --flannel.annotation-prefix is wrong.")
	sourceUp = describe("lease_source_up",
		"1 if the leases can be read from their source, 0 if not; the last ones read are then used.", "source")
	sourceSync = describe("lease_source_last_sync_timestamp_seconds",
		"When the leases were last known to be what their source holds.")
	sourceWritten = describe("lease_source_written_timestamp_seconds",
		"When somebody last wrote what the leases were read from: the modification time of the lease file. Only where the source has one.")
	lastAudit = describe("last_audit_timestamp_seconds",
		"When the kernel was last read completely, without an event asking for it.")

	incidents = describe("incidents_total",
		"Events that broke something, however many leases each broke.", "cause")
	routeEvents = describe("route_events_total",
		"Kernel events about routes that matter to a lease. A device that goes down removes IPv4 routes without any.",
		"family", "event")
	resyncs = describe("resyncs_total",
		"Complete readings of the kernel, by what made them necessary.", "reason")
	auditDrift = describe("audit_drift_total",
		"Differences that an audit found and no kernel event had announced.")
	overruns = describe("netlink_overruns_total",
		"Times that the kernel dropped events because routewatch did not read them fast enough. Each is followed by a complete reading.")
	receiveBuffer = describe("netlink_receive_buffer_bytes",
		"Size of the buffer for kernel events that the kernel granted.")
	filterActive = describe("netlink_filter_active",
		"Whether the kernel delivers only events that can matter to a lease. Without the filter all are read, and judged the same.")
)

// The metrics of the history's file; there only with --history.file.
var (
	historyErrors = describe("history_write_errors_total",
		"Attempts to write the history that failed. Events are kept in memory meanwhile, and written when it works again.")
	historyLost = describe("history_records_lost_total",
		"Records of the history that could not be read at the start, or not be written in time, and are gone.")
	historySize = describe("history_size_bytes",
		"Size of the history's file. It stays below --history.max-size.")
)

// There only with --notify.events or --notify.node-condition.
var notifications = describe("notifications_total",
	"Events about this Node and changes of its condition by what became of them: sent; failed, an attempt that is made again; "+
		"dropped, given up; summed, incidents that one Event tells of together. Only what is turned on has series.",
	"kind", "result")

var historyCatalog = []*prometheus.Desc{historyErrors, historyLost, historySize}

var catalog = []*prometheus.Desc{
	nodeInfo, snapshotComplete, ownLeaseKnown,
	leases, leaseEffects, problemStart, problemsTruncated,
	routesExpected, routesPresent, routesMissing, staleObjects,
	deviceUp, nodeProblem,
	sourceUp, sourceSync, sourceWritten, lastAudit,
	incidents, routeEvents, resyncs, auditDrift, overruns, receiveBuffer, filterActive,
}

// resyncReasons are those of netstate.Counters.Resyncs; each has a series from
// the start, so that the first one is an increase.
var resyncReasons = []string{"start", "leases", "overrun", "events", "disagreement", "audit"}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}
