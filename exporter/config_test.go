package main

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

func TestListenAddress(t *testing.T) {
	for given, want := range map[string]string{
		"127.0.0.1":            "127.0.0.1:10098",
		"127.0.0.1:0":          "127.0.0.1:0",
		":10098":               ":10098",
		"localhost:9100":       "localhost:9100",
		"[::1]:9100":           "[::1]:9100",
		"::1":                  "[::1]:10098",
		"::":                   "[::]:10098",
		"fd00::5:10098":        "[fd00::5]:10098", // $(HOST_IP):10098
		"2001:db8::a:b:10098":  "[2001:db8::a:b]:10098",
		"fe80::1%eth0":         "[fe80::1%eth0]:10098",
		"[fe80::1%eth0]:10098": "[fe80::1%eth0]:10098",
	} {
		if got, err := listenAddress(given); got != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", given, got, err, want)
		}
	}
	for _, given := range []string{"", "localhost", "1.2.3.4:", "1.2.3.4:port", "1.2.3.4:65536", "1.2.3.4:-1", "[::1]", "[::1:80", "::1]:80", "a:b:80", "http://[::1]:80", ":::10098:1x"} {
		if got, err := listenAddress(given); err == nil {
			t.Errorf("%q: got %q, want an error", given, got)
		}
	}
}

// parseArgs is what the program makes of its arguments.
func parseArgs(t *testing.T, args ...string) config {
	t.Helper()
	var cfg config
	var stderr bytes.Buffer
	app := newApp(&stderr, &stderr, func(c *cli.Context) (err error) {
		cfg, err = parse(c, &stderr)
		return err
	})
	if err := app.RunContext(context.Background(), append([]string{program, "--leases.file", "x"}, args...)); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestParse_Defaults(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	cfg := parseArgs(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.judge.Node != strings.ToLower(host) || cfg.leases.options.Self != cfg.judge.Node {
		t.Errorf("node is %q, own lease that of %q; want the host name %q for both", cfg.judge.Node, cfg.leases.options.Self, host)
	}
	if cfg.judge.Grace != time.Minute || cfg.kernel.AuditInterval != 30*time.Second || cfg.maxProblems != 100 || cfg.once || cfg.kernel.Unfiltered {
		t.Errorf("got %+v", cfg)
	}
	if diff := cmp.Diff([]string{"127.0.0.1:10098"}, cfg.web.addresses); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if !parseArgs(t, "--kernel.unfiltered").kernel.Unfiltered {
		t.Error("--kernel.unfiltered has no effect")
	}
	if cfg.leases.options.Prefix.Key("backend-data") != "flannel.alpha.coreos.com/backend-data" {
		t.Errorf("annotation prefix is %q, want flannel's default", cfg.leases.options.Prefix)
	}
}

func TestParse_ListenAddresses(t *testing.T) {
	want := []string{"127.0.0.1:1", "[fd00::5]:10098"}
	if diff := cmp.Diff(want, parseArgs(t, "--web.listen-address", "127.0.0.1:1", "--web.listen-address", "fd00::5:10098").web.addresses); diff != "" {
		t.Errorf("from flags (-want +got):\n%s", diff)
	}
	t.Setenv("ROUTEWATCH_WEB_LISTEN_ADDRESS", "127.0.0.1:1, fd00::5:10098")
	if diff := cmp.Diff(want, parseArgs(t).web.addresses); diff != "" {
		t.Errorf("from the environment (-want +got):\n%s", diff)
	}
}

func TestParse_FlagsOverrideNetConf(t *testing.T) {
	netConf := filepath.Join(t.TempDir(), "net-conf.json")
	if err := os.WriteFile(netConf, []byte(`{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": 7}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	comparePrefix := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	no := false
	want := expect.Config{
		Backend: "vxlan", VNI: 7, Port: 8472, DirectRouting: &no,
		Network: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, Families: []netstate.Family{netstate.IPv4},
	}
	if diff := cmp.Diff(want, parseArgs(t, "--flannel.net-conf", netConf).judge.Flannel, comparePrefix); diff != "" {
		t.Errorf("net-conf alone (-want +got):\n%s", diff)
	}

	want.Backend = "host-gw"
	want.Network = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/48")}
	want.Families = []netstate.Family{netstate.IPv4, netstate.IPv6}
	cfg := parseArgs(t, "--flannel.net-conf", netConf, "--flannel.backend", "host-gw",
		"--flannel.network", "10.0.0.0/8", "--flannel.network", "fd00::/48", "--flannel.families", "ipv6,ipv4")
	if diff := cmp.Diff(want, cfg.judge.Flannel, comparePrefix); diff != "" {
		t.Errorf("with flags (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.Families, cfg.leases.options.Families); diff != "" {
		t.Errorf("families of the lease source (-want +got):\n%s", diff)
	}
}

func TestFlags_EachHasAVariableAndAnExplanation(t *testing.T) {
	for _, f := range flags() {
		name := f.Names()[0]
		doc := f.(cli.DocGenerationFlag)
		if doc.GetUsage() == "" {
			t.Errorf("--%s is not explained", name)
		}
		if name != flagVersion && (len(doc.GetEnvVars()) == 0 || doc.GetEnvVars()[0] != env(name)[0]) {
			t.Errorf("--%s has the variables %v, want %s first", name, doc.GetEnvVars(), env(name)[0])
		}
	}
	if got := env("web.listen-address")[0]; got != "ROUTEWATCH_WEB_LISTEN_ADDRESS" {
		t.Errorf("variable of --web.listen-address is %s", got)
	}
}
