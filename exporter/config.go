package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/urfave/cli/v2"

	"routewatch/exporter/internal/history"
	"routewatch/exporter/internal/kernel"
	"routewatch/exporter/internal/notify"
	"routewatch/exporter/internal/recorder"
	"routewatch/shared/expect"
	"routewatch/shared/judge"
	"routewatch/shared/netstate"
)

// config is what the flags say, checked.
type config struct {
	judge       judge.Options
	leases      leaseSource
	kernel      kernel.Config
	maxProblems int
	once        bool
	history     historyConfig
	record      recordConfig
	web         webConfig
	notifier    *notify.Notifier // nil: Kubernetes is told nothing
	log         *slog.Logger
}

type historyConfig struct {
	path    string // "" none
	maxSize int64  // bytes
}

type recordConfig struct {
	path    string // "" none
	maxSize int64  // bytes of both files
}

type webConfig struct {
	addresses   []string // host:port
	metricsPath string
	file        string // of exporter-toolkit; "" none
	pprof       bool
}

// A lease source is heard of every half a minute or so; one of Kubernetes on a
// server without bookmarks when a Node changes, which its kubelet makes it do
// every five minutes. The kernel is read at
// each audit, and an audit that is costly may be put off to ten times its
// interval.
const (
	minSilence   = 15 * time.Minute
	silentAudits = 12
)

// The kernel doubles what it is asked for, and its numbers have 32 bits.
const (
	minReceiveBuffer = 4 << 10
	maxReceiveBuffer = 1 << 29
)

// maxHistory is what can still be read at the start without being felt.
const maxHistory = 1 << 30

// parse checks the flags. Every error says which flag and what was expected.
func parse(c *cli.Context, stderr io.Writer) (config, error) {
	var cfg config
	if c.NArg() > 0 {
		return cfg, fmt.Errorf("%q is no flag: expected only flags", c.Args().First())
	}
	log, err := logger(c.String(flagLogLevel), c.String(flagLogFormat), stderr)
	if err != nil {
		return cfg, err
	}
	cfg.log = log
	cfg.once = c.Bool(flagOnce)
	cfg.kernel = kernel.Config{
		NetNS: c.Path(flagNetNS), AuditInterval: c.Duration(flagAuditInterval), ReceiveBuffer: c.Int(flagReceiveBuffer),
		Unfiltered: c.Bool(flagUnfiltered),
	}
	cfg.maxProblems = c.Int(flagMaxProblems)
	cfg.history = historyConfig{c.Path(flagHistoryFile), c.Int64(flagHistoryMaxSize)}
	cfg.record = recordConfig{c.Path(flagRecord), c.Int64(flagRecordMaxSize)}
	cfg.judge.Grace = c.Duration(flagGrace)
	cfg.judge.MaxSilence = max(minSilence, silentAudits*c.Duration(flagAuditInterval))
	switch {
	case cfg.maxProblems < 0:
		return cfg, fmt.Errorf("--%s is %d: expected 0 or more", flagMaxProblems, cfg.maxProblems)
	case cfg.history.maxSize < history.MinSize || cfg.history.maxSize > maxHistory:
		return cfg, fmt.Errorf("--%s is %d: expected a number of bytes from %d to %d",
			flagHistoryMaxSize, cfg.history.maxSize, history.MinSize, maxHistory)
	case cfg.record.maxSize < recorder.MinSize:
		return cfg, fmt.Errorf("--%s is %d: expected a number of bytes, %d or more", flagRecordMaxSize, cfg.record.maxSize, recorder.MinSize)
	case cfg.judge.Grace < 0:
		return cfg, fmt.Errorf("--%s is %s: expected 0 or more, e.g. 60s", flagGrace, cfg.judge.Grace)
	case cfg.kernel.AuditInterval < time.Second:
		return cfg, fmt.Errorf("--%s is %s: expected 1s or more, e.g. 30s", flagAuditInterval, cfg.kernel.AuditInterval)
	case cfg.kernel.ReceiveBuffer < minReceiveBuffer || cfg.kernel.ReceiveBuffer > maxReceiveBuffer:
		return cfg, fmt.Errorf("--%s is %d: expected a number of bytes from %d to %d",
			flagReceiveBuffer, cfg.kernel.ReceiveBuffer, minReceiveBuffer, maxReceiveBuffer)
	}
	if cfg.judge.Node, err = nodeName(c.String(flagNodeName)); err != nil {
		return cfg, err
	}
	if cfg.judge.Flannel, err = flannelConfig(c); err != nil {
		return cfg, err
	}
	if cfg.leases, err = newLeaseSource(c, cfg); err != nil {
		return cfg, err
	}
	cfg.judge.ShowLeases = cfg.leases.show
	if cfg.notifier, err = newNotifier(c, cfg); err != nil {
		return cfg, err
	}
	cfg.web, err = parseWeb(c)
	return cfg, err
}

func logger(level, format string, w io.Writer) (*slog.Logger, error) {
	cfg := promslog.Config{Level: promslog.NewLevel(), Format: promslog.NewFormat(), Writer: w}
	if err := cfg.Level.Set(level); err != nil {
		return nil, fmt.Errorf("--%s is %q: expected %s", flagLogLevel, level, strings.Join(promslog.LevelFlagOptions, ", "))
	}
	if err := cfg.Format.Set(format); err != nil {
		return nil, fmt.Errorf("--%s is %q: expected %s", flagLogFormat, format, strings.Join(promslog.FormatFlagOptions, ", "))
	}
	return promslog.New(&cfg), nil
}

// nodeName defaults to what the kubelet makes of the host name.
func nodeName(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the host name cannot be read: %w: give --%s", err, flagNodeName)
	}
	return strings.ToLower(strings.TrimSpace(host)), nil
}

// backends are flannel's, as they are named in net-conf.json.
var backends = []string{"vxlan", "host-gw", "wireguard", "ipip", "udp", "alloc", "extension", "ipsec", "tencent-vpc"}

// flannelConfig reads net-conf and lets the flags override it.
func flannelConfig(c *cli.Context) (expect.Config, error) {
	cfg, err := readNetConf(c.Path(flagNetConf))
	if err != nil {
		return cfg, fmt.Errorf("--%s: %w", flagNetConf, err)
	}
	if b := c.String(flagBackend); b != "" {
		if !slices.Contains(backends, b) {
			return cfg, fmt.Errorf("--%s is %q: expected one of %s", flagBackend, b, strings.Join(backends, ", "))
		}
		cfg.Backend = b
	}
	if given := c.StringSlice(flagNetwork); len(given) > 0 {
		if cfg.Network, err = networks(given); err != nil {
			return cfg, err
		}
	}
	if given := c.StringSlice(flagFamilies); len(given) > 0 {
		if cfg.Families, err = families(given); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

func readNetConf(path string) (expect.Config, error) {
	if path == "" {
		return expect.Config{}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return expect.Config{}, fmt.Errorf("%w: expected flannel's net-conf.json", err)
	}
	defer f.Close()
	cfg, err := expect.ReadNetConf(f)
	if err != nil {
		return cfg, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

func networks(given []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, s := range given {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("--%s is %q: expected a prefix, e.g. 10.244.0.0/16", flagNetwork, s)
		}
		if slices.ContainsFunc(networks, func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() }) {
			return nil, fmt.Errorf("--%s has two prefixes of one family: expected at most one of each", flagNetwork)
		}
		networks = append(networks, p)
	}
	return networks, nil
}

func families(given []string) ([]netstate.Family, error) {
	var families []netstate.Family
	for _, s := range given {
		var f netstate.Family
		if err := f.UnmarshalText([]byte(strings.TrimSpace(s))); err != nil {
			return nil, fmt.Errorf("--%s: %w", flagFamilies, err)
		}
		families = append(families, f)
	}
	slices.Sort(families)
	return slices.Compact(families), nil
}

// A path that needs no escaping and is none of the others.
var metricsPath = regexp.MustCompile(`^(/[A-Za-z0-9_~.-]*[A-Za-z0-9_~-])+$`)

func parseWeb(c *cli.Context) (webConfig, error) {
	w := webConfig{metricsPath: c.String(flagTelemetryPath), file: c.Path(flagWebConfig), pprof: c.Bool(flagPprof)}
	ours := func(prefix string) bool { return strings.HasPrefix(w.metricsPath, prefix) }
	if !metricsPath.MatchString(w.metricsPath) || slices.ContainsFunc([]string{"/-/", "/api/", "/debug/", "/page/"}, ours) {
		return w, fmt.Errorf("--%s is %q: expected a path like /metrics, and not below /api, /debug, /page or /-",
			flagTelemetryPath, w.metricsPath)
	}
	if err := web.Validate(w.file); err != nil {
		return w, fmt.Errorf("--%s: %w", flagWebConfig, err)
	}
	for _, s := range c.StringSlice(flagListenAddress) {
		a, err := listenAddress(strings.TrimSpace(s))
		if err != nil {
			return w, fmt.Errorf("--%s is %q: %w", flagListenAddress, s, err)
		}
		w.addresses = append(w.addresses, a)
	}
	if len(w.addresses) == 0 {
		return w, fmt.Errorf("--%s is empty: expected an address, e.g. 127.0.0.1:%s", flagListenAddress, defaultPort)
	}
	return w, nil
}

var errListenAddress = errors.New("expected ADDRESS:PORT, ADDRESS or :PORT, e.g. 127.0.0.1:" + defaultPort + " or [::1]:" + defaultPort)

// listenAddress makes host:port of an address. In a manifest the address of an
// IPv6 node comes without brackets, $(HOST_IP):10098; as the port has five
// digits, that can be told from an address alone.
func listenAddress(s string) (string, error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return net.JoinHostPort(s, defaultPort), nil
	}
	host, port := "", ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return "", errListenAddress
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return "", errListenAddress
		}
	}
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", errListenAddress
		}
	}
	return net.JoinHostPort(host, port), nil
}
