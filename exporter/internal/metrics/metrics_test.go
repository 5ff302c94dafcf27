package metrics_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"routewatch/exporter/internal/metrics"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func registry(s *wire.Snapshot) *prometheus.Registry {
	r := metrics.NewRegistry(func() *wire.Snapshot { return s }, metrics.NewDetection(), 100)
	metrics.RegisterHistory(r, func() *wire.History { return &wire.History{Bytes: 4096, Lost: 1, WriteErrors: 2} })
	metrics.RegisterNotifications(r, func(each func(kind, result string, count uint64)) { each("event", "sent", 3) })
	return r
}

// empty is what the engine has before anything was read.
func empty() *wire.Snapshot {
	return &wire.Snapshot{Node: "alpha", Sources: []wire.Source{{Name: "file"}, {Name: "kernel"}}}
}

// snapshot is a complete one with n leases that are all well.
func snapshot(n int) *wire.Snapshot {
	s := empty()
	s.Complete, s.LeasesRead, s.KernelRead, s.Healthy = true, true, true, true
	s.OwnLeaseKnown = true
	s.Backend, s.VNI = "vxlan", 1
	s.Sources = []wire.Source{{Name: "file", Complete: true, LastSync: noon, Written: noon.Add(-time.Hour)}, {Name: "kernel", Complete: true}}
	s.Devices = []wire.Device{{Name: "flannel.1", Family: netstate.IPv4, Present: true, Up: true}}
	s.IncidentsTotal = map[string]uint64{"link_down": 2}
	s.Counters = netstate.Counters{
		IPv4Routes: netstate.RouteEvents{Added: 3, Replaced: 2, Deleted: 1},
		Resyncs:    map[string]uint64{"start": 1, "audit": 4}, AuditDrift: 5, Overruns: 6, ReceiveBytes: 8 << 20, Filtered: true,
		LastAudit: noon.Add(1500 * time.Millisecond),
	}
	for i := range n {
		s.Leases = append(s.Leases, &wire.Lease{
			Lease: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24), Family: netstate.IPv4,
			Peer: fmt.Sprintf("peer%04d", i), State: verdict.OK, Effect: verdict.Delivered, RoutePresent: true,
		})
	}
	return summarized(s)
}

// summarized counts the leases as judge does.
func summarized(s *wire.Snapshot) *wire.Snapshot {
	f := wire.FamilySummary{Family: netstate.IPv4, States: map[verdict.State]int{}, Effects: map[verdict.Effect]int{}, Stale: map[wire.StaleKind]int{wire.StaleRoute: 1}}
	for _, l := range s.Leases {
		f.States[l.State]++
		f.Effects[l.Effect]++
		f.Expected++
		if l.RoutePresent {
			f.Present++
		}
	}
	f.Missing = f.Expected - f.Present
	s.Summary.Families = []wire.FamilySummary{f}
	return s
}

func broken(was *wire.Lease, age time.Duration, effect verdict.Effect) *wire.Lease {
	l := *was
	l.State, l.Effect, l.Cause, l.Since, l.RoutePresent = verdict.Missing, effect, verdict.CauseLinkDown, noon.Add(-age), false
	return &l
}

func TestMetrics_Golden(t *testing.T) {
	flapped := snapshot(4)
	flapped.Leases[1] = broken(flapped.Leases[1], time.Minute, verdict.Leaking)
	flapped.Leases[2] = broken(flapped.Leases[2], time.Hour, verdict.Unreachable)
	flapped.NodeProblems = []wire.NodeProblem{{Problem: verdict.DeviceMAC}}
	flapped.NodeJudged = true

	kernelLost := snapshot(2)
	kernelLost.Complete, kernelLost.Sources[1].Complete = false, false
	kernelLost.Sources[0].Written = time.Time{} // as of a source that has none
	for i := range kernelLost.Leases {
		kernelLost.Leases[i].State, kernelLost.Leases[i].Effect = verdict.Unknown, verdict.EffectUnknown
	}

	tests := map[string]*wire.Snapshot{
		"nothing_read.prom": empty(),
		"flapped.prom":      summarized(flapped),
		"kernel_lost.prom":  summarized(kernelLost),
	}
	for file, s := range tests {
		t.Run(file, func(t *testing.T) {
			golden(t, file, ours(t, s))
		})
	}
}

// ours are the lines of a scrape that depend on the snapshot alone.
func ours(t *testing.T, s *wire.Snapshot) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.Handler(registry(s), slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape answered %d: %s", w.Code, w.Body)
	}
	var b strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "routewatch_") && !strings.Contains(line, "routewatch_build_info") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), refresh with go test -update:\n%s", file, diff)
	}
}

func TestMetrics_Lint(t *testing.T) {
	s := snapshot(3)
	s.Leases[0] = broken(s.Leases[0], time.Minute, verdict.Leaking)
	problems, err := testutil.GatherAndLint(registry(summarized(s)))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Before both sides were read nothing may look like good news: no series is
// there that says "none missing", "no problem" or "0 broken".
func TestMetrics_NothingReadIsNotGreen(t *testing.T) {
	for _, name := range []string{
		"routewatch_leases", "routewatch_lease_effects", "routewatch_lease_problems_truncated", "routewatch_routes_missing",
		"routewatch_routes_present", "routewatch_stale_objects", "routewatch_node_problem", "routewatch_device_up",
		"routewatch_lease_source_written_timestamp_seconds",
	} {
		if n, err := testutil.GatherAndCount(registry(empty()), name); n != 0 || err != nil {
			t.Errorf("%s has %d series before anything was read (error %v)", name, n, err)
		}
	}
	want := "# HELP routewatch_snapshot_complete 1 if both the leases and the kernel could be read, 0 if not; then no other value can be trusted to be up to date.\n" +
		"# TYPE routewatch_snapshot_complete gauge\nroutewatch_snapshot_complete 0\n"
	if err := testutil.GatherAndCompare(registry(empty()), strings.NewReader(want), "routewatch_snapshot_complete"); err != nil {
		t.Error(err)
	}
}

func TestMetrics_SameSeriesForAnyNumberOfHealthyLeases(t *testing.T) {
	few, many := series(t, snapshot(3)), series(t, snapshot(3000))
	if diff := cmp.Diff(few, many); diff != "" {
		t.Errorf("series with 3 and with 3000 leases (-3 +3000):\n%s", diff)
	}
	if len(few) == 0 {
		t.Error("there is no series at all")
	}
}

// series are the names and labels of a scrape, without the values.
func series(t *testing.T, s *wire.Snapshot) []string {
	t.Helper()
	var names []string
	for line := range strings.Lines(ours(t, s)) {
		if !strings.HasPrefix(line, "#") {
			names = append(names, line[:strings.LastIndexByte(line, ' ')])
		}
	}
	return names
}

func TestMetrics_ProblemsAreCappedWorstFirst(t *testing.T) {
	s := snapshot(150)
	for i := range s.Leases {
		effect := verdict.Undeliverable
		if i >= 100 { // the later half of the names is worse, and of them the later ones are older
			effect = verdict.Leaking
		}
		s.Leases[i] = broken(s.Leases[i], time.Duration(i)*time.Second, effect)
	}
	reg := metrics.NewRegistry(func() *wire.Snapshot { return s }, metrics.NewDetection(), 3)
	want := `
# HELP routewatch_lease_problem_start_timestamp_seconds Since when a lease is broken. Only while it is; the worst ones first, up to --metrics.max-problems.
# TYPE routewatch_lease_problem_start_timestamp_seconds gauge
`
	for i := 147; i < 150; i++ {
		want += fmt.Sprintf("routewatch_lease_problem_start_timestamp_seconds{cause=\"link_down\",effect=\"leaking\",family=\"ipv4\",lease=%q,peer=%q,state=\"missing\"} %d\n",
			s.Leases[i].Lease, s.Leases[i].Peer, noon.Unix()-int64(i))
	}
	want += `
# HELP routewatch_lease_problems_truncated Broken leases that have no routewatch_lease_problem_start_timestamp_seconds because there are too many.
# TYPE routewatch_lease_problems_truncated gauge
routewatch_lease_problems_truncated 147
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "routewatch_lease_problem_start_timestamp_seconds", "routewatch_lease_problems_truncated"); err != nil {
		t.Error(err)
	}
}

// What a broken lease source holds must not break a scrape.
func TestMetrics_OddLeases(t *testing.T) {
	s := snapshot(1)
	bad := *broken(s.Leases[0], time.Minute, verdict.Leaking)
	malformed := bad
	malformed.Lease, malformed.Peer = netip.Prefix{}, "new\nline \"quoted\" \\ ü"
	invalid, alsoInvalid := bad, bad
	invalid.Peer, alsoInvalid.Peer = "a\xff", "a\xfe"
	s.Leases = netstate.Refs([]wire.Lease{bad, bad, malformed, invalid, alsoInvalid})
	s.Node = "node\xff"
	s.Devices = []wire.Device{
		{Name: "flannel\xff", Family: netstate.IPv4, Present: true, Up: true},
		{Name: "flannel\xff", Family: netstate.IPv6, Present: true},
	}

	got := slices.DeleteFunc(series(t, summarized(s)), func(name string) bool {
		return !strings.HasPrefix(name, "routewatch_lease_problem_start") && !strings.HasPrefix(name, "routewatch_device_up")
	})
	want := []string{
		`routewatch_device_up{device="flannel�"}`,
		`routewatch_lease_problem_start_timestamp_seconds{cause="link_down",effect="leaking",family="ipv4",lease="",peer="new\nline \"quoted\" \\ ü",state="missing"}`,
		`routewatch_lease_problem_start_timestamp_seconds{cause="link_down",effect="leaking",family="ipv4",lease="10.0.0.0/24",peer="a�",state="missing"}`,
		`routewatch_lease_problem_start_timestamp_seconds{cause="link_down",effect="leaking",family="ipv4",lease="10.0.0.0/24",peer="peer0000",state="missing"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

func TestDetection(t *testing.T) {
	detection := metrics.NewDetection()
	detection.Observe(3 * time.Millisecond)
	detection.Observe(time.Minute)
	reg := metrics.NewRegistry(empty, detection, 100)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "routewatch_detection_duration_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		buckets := h.GetBucket()
		if h.GetSampleCount() != 2 || buckets[0].GetCumulativeCount() != 0 || buckets[2].GetCumulativeCount() != 1 {
			t.Errorf("got histogram %v, want one of 2 in the bucket of 5 ms", h)
		}
		if first, last := buckets[0].GetUpperBound(), buckets[len(buckets)-1].GetUpperBound(); first != .001 || last != 10 {
			t.Errorf("buckets from %v to %v, want from 0.001 to 10", first, last)
		}
		if len(h.GetPositiveSpan()) == 0 {
			t.Error("there is no native histogram")
		}
		return
	}
	t.Error("routewatch_detection_duration_seconds is not exported")
}

func TestHandler(t *testing.T) {
	var logged bytes.Buffer
	h := metrics.Handler(registry(snapshot(2)), slog.New(slog.NewTextHandler(&logged, nil)))
	for accept, want := range map[string]string{
		"":                             "text/plain",
		"application/openmetrics-text": "application/openmetrics-text",
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), want) {
			t.Errorf("Accept %q: got %d %s, want 200 %s", accept, w.Code, w.Header().Get("Content-Type"), want)
		}
		for _, name := range []string{"routewatch_build_info{", "routewatch_snapshot_complete 1", "go_goroutines ", "process_resident_memory_bytes ", "promhttp_metric_handler_errors_total{"} {
			if !bytes.Contains(body, []byte(name)) {
				t.Errorf("Accept %q: there is no %q in the scrape", accept, name)
			}
		}
	}
	if logged.Len() > 0 {
		t.Errorf("a good scrape logged %s", &logged)
	}
}
