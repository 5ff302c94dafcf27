//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/wire"
)

func TestDaemon(t *testing.T) {
	ns, file := node(t)
	d := startDaemon(t, 2, append(flagsOf(ns, file), "--web.listen-address", "127.0.0.2:0")...)
	status := d.awaitHealthy(t)
	if status.Node != "node-1" || status.Summary.Leases == 0 || status.ProblemsTotal != 0 || status.Backend != "vxlan" {
		t.Errorf("got status %+v, want node-1 with well leases", status)
	}
	for path, want := range map[string]string{
		"/metrics":                "\nroutewatch_snapshot_complete 1\n",
		"/-/healthy":              "healthy:",
		"/-/ready":                "ready:",
		"/":                       "<title>routewatch on node-1</title>",
		"/api/v1/leases?state=ok": `"state":"ok"`,
	} {
		if code, body := d.get(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %s, want 200 and %q", path, code, body, want)
		}
	}
	d.urls = d.urls[1:]
	if code, _ := d.get("/-/healthy"); code != 200 {
		t.Errorf("the second address %s answers %d, want 200", d.urls[0], code)
	}
	if code, took := d.terminate(t); code != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit code %d after %s, want 0 within 5 s", code, took)
	}
	for message, want := range map[string]int{`"msg":"starting"`: 1, `"msg":"listening"`: 2, `"msg":"stopped"`: 1, `"level":"ERROR"`: 0, `"level":"WARN"`: 0} {
		if got := strings.Count(d.logged(), message); got != want {
			t.Errorf("%d lines with %s, want %d", got, message, want)
		}
	}
}

// A client that never finishes its request must not keep the exporter alive.
func TestDaemon_StopsInSpiteOfASlowClient(t *testing.T) {
	ns, file := node(t)
	d := startDaemon(t, 1, flagsOf(ns, file)...)
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.urls[0], "http://"))
	netns.Must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n")
	netns.Must(t, err)
	d.awaitHealthy(t) // by now the server has accepted the connection before this one
	if code, took := d.terminate(t); code != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit code %d after %s, want 0 within 5 s", code, took)
	}
}

// What cannot be leases is never good news, is told in the status and in the
// metrics, and is forgotten when the file is mended.
func TestDaemon_BrokenLeaseFile(t *testing.T) {
	ns, file := node(t)
	good, err := os.ReadFile(file)
	netns.Must(t, err)
	write := func(b []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) { netns.Must(t, os.WriteFile(path, b, 0o600)) }
	}
	// How the status says what is wrong with the file, or with a lease in it.
	fileNamed := func(s wire.NodeStatus) bool {
		return !s.Complete && s.Sources[0].Problem != "" && s.Sources[1].Complete
	}
	leaseNamed := func(s wire.NodeStatus) bool { return s.Complete && s.UnknownLeases() > 0 && s.Problems[0].Reason != "" }
	ownNamed := func(s wire.NodeStatus) bool { return s.Complete && !s.Healthy && s.Sources[0].Problem != "" }

	malform := []byte(`VtepMac\": 7, \"x`)
	last := bytes.LastIndex(good, []byte("VtepMAC"))
	tests := map[string]struct {
		breakFile func(t *testing.T, path string)
		named     func(wire.NodeStatus) bool // and settled
	}{
		"missing":   {func(*testing.T, string) {}, fileNamed},
		"directory": {func(t *testing.T, path string) { netns.Must(t, os.Mkdir(path, 0o700)) }, fileNamed},
		"100 MB": {func(t *testing.T, path string) {
			write(nil)(t, path)
			netns.Must(t, os.Truncate(path, 100<<20))
		}, fileNamed},
		"empty":          {write(nil), fileNamed},
		"truncated":      {write(good[:len(good)/2]), fileNamed},
		"not UTF-8":      {write([]byte("\xff\xfe{\x00}\x00")), fileNamed},
		"other JSON":     {write([]byte(`{"kind": "Pod"}`)), fileNamed},
		"no nodes":       {write([]byte(`{"apiVersion": "v1", "kind": "List", "items": []}`)), fileNamed},
		"own malformed":  {write(bytes.Replace(good, []byte("VtepMAC"), malform, 1)), ownNamed},
		"peer malformed": {write(slices.Concat(good[:last], malform, good[last+len("VtepMAC"):])), leaseNamed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "nodes.json")
			tt.breakFile(t, path)
			args := flagsOf(ns, path)
			if code, stdout, _ := result(t, command(append(args, "--once")...)); code != int(wire.CannotTell) || !json.Valid([]byte(stdout)) {
				t.Errorf("--once: exit code %d, want %d and a status; got %s", code, wire.CannotTell, stdout)
			}
			d := startDaemon(t, 1, args...)
			s := d.await(t, "named as broken", tt.named)
			complete := "\nroutewatch_snapshot_complete 1\n"
			if !s.Complete {
				complete = "\nroutewatch_snapshot_complete 0\n"
			}
			if code, body := d.get("/metrics"); s.Healthy || code != 200 || !strings.Contains(body, complete) {
				t.Errorf("healthy is %t, and the metrics (%d) do not have %q", s.Healthy, code, complete)
			}

			mended := filepath.Join(t.TempDir(), "mended.json")
			write(good)(t, mended)
			if err := os.Rename(mended, path); err != nil { // over a directory
				netns.Must(t, os.Remove(path))
				netns.Must(t, os.Rename(mended, path))
			}
			d.awaitHealthy(t)
		})
	}
}

func TestOnce(t *testing.T) {
	ns, file := node(t)
	args := append(flagsOf(ns, file), "--once")
	code, stdout, stderr := result(t, command(args...))
	var s wire.NodeStatus
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatalf("stdout is no status: %v\n%s", err, stdout)
	}
	if code != 0 || !s.Healthy || s.Version != testVersion || stderr != "" {
		t.Errorf("exit code %d, healthy %t, version %q, stderr %q; want 0, true, %s and nothing", code, s.Healthy, s.Version, stderr, testVersion)
	}
	netns.Must(t, ns.SetDown("flannel.1"))
	netns.Must(t, ns.SetUp("flannel.1"))
	if code, stdout, _ := result(t, command(args...)); code != 1 || !strings.Contains(stdout, `"healthy": false`) {
		t.Errorf("exit code %d after a flap, want 1; got %s", code, stdout)
	}
	args = append(args, "--netns", filepath.Join(t.TempDir(), "none"))
	if code, stdout, stderr := result(t, command(args...)); code != 2 || !strings.Contains(stdout, `"complete": false`) || !strings.Contains(stderr, "none") {
		t.Errorf("exit code %d without a kernel, want 2; got %s%s", code, stdout, stderr)
	}
}

// Nodes from an API server are the same leases as those from a file of it.
func TestOnce_Kubernetes(t *testing.T) {
	ns, file := node(t)
	list, err := os.ReadFile(file)
	netns.Must(t, err)
	list = bytes.Replace(list, []byte(`"kind": "List"`), []byte(`"kind": "NodeList"`), 1)
	var forbidden atomic.Bool
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !forbidden.Load() {
			_, _ = w.Write(list)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"no"}`)
	}))
	defer api.Close()
	noCluster(t)
	args := append(flagsOf(ns, file), "--once")
	args = append(slices.DeleteFunc(args, func(a string) bool { return a == "--leases.file" || a == file }), "--kubernetes.api-server", api.URL)
	exit, stdout, stderr := result(t, command(args...))
	if exit != 0 || !strings.Contains(stdout, `"name": "kubernetes"`) || stderr != "" {
		t.Errorf("exit code %d, want 0; got %s%s", exit, stdout, stderr)
	}
	forbidden.Store(true)
	exit, stdout, stderr = result(t, command(args...))
	if exit != int(wire.CannotTell) || !strings.Contains(stderr, "routewatch needs get, list, watch of nodes") || !strings.Contains(stdout, `"complete": false`) {
		t.Errorf("exit code %d, want %d; got %s%s", exit, wire.CannotTell, stdout, stderr)
	}
}

func TestEnvironment(t *testing.T) {
	ns, file := node(t)
	cmd := command("--once")
	cmd.Env = append(cmd.Env, "NODE_NAME=node-1", "ROUTEWATCH_LEASES_FILE="+file, "ROUTEWATCH_NETNS="+ns.Path())
	if code, stdout, stderr := result(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0; got %s%s", code, stdout, stderr)
	}
	cmd = command("--once", "--leases.file", file)
	cmd.Env = append(cmd.Env, "ROUTEWATCH_GRACE=soon")
	if code, _, stderr := result(t, cmd); code != 3 || !strings.Contains(stderr, "ROUTEWATCH_GRACE") {
		t.Errorf("exit code %d, stderr %q; want 3 and the variable's name", code, stderr)
	}
}

func TestUsage(t *testing.T) {
	webConfig := filepath.Join(t.TempDir(), "web.yml")
	netns.Must(t, os.WriteFile(webConfig, []byte("tls: {}\n"), 0o600))
	tests := []struct {
		args   string
		stderr string
	}{
		{"", "there is no lease source: give --leases.file FILE"},
		{"--leases file", "there is no lease file: give --leases.file FILE"},
		{"--leases kubernets --leases.file x", `--leases is "kubernets": expected auto, kubernetes, etcd, file`},
		{"--kubeconfig /nonexistent", "leases from Kubernetes: kubeconfig /nonexistent: stat /nonexistent: no such file or directory"},
		{"--kubernetes.api-server 10.0.0.1", `leases from Kubernetes: the API server is "10.0.0.1": expected a URL`},
		{"--kubernetes.api-server https://10.0.0.1 --flannel.annotation-prefix a/b/c", "--flannel.annotation-prefix: "},
		{"--leases.file", "flag needs an argument"},
		{"--nope", "flag provided but not defined: -nope"},
		{"--leases.file x status", `"status" is no flag: expected only flags`},
		{"--leases.file x --once false", `"false" is no flag`},
		{"--leases.file x --grace 5", `invalid value "5" for flag -grace`},
		{"--leases.file x --grace -1s", "--grace is -1s: expected 0 or more"},
		{"--leases.file x --audit-interval 0s", "--audit-interval is 0s: expected 1s or more"},
		{"--leases.file x --history.max-size 1000", "--history.max-size is 1000: expected a number of bytes from 1048576 to 1073741824"},
		{"--leases.file x --notify.events", "--notify.events and --notify.node-condition tell Kubernetes: no API server is known: give --kubeconfig FILE"},
		{"--leases.file x --netlink.receive-buffer 1000", "--netlink.receive-buffer is 1000: expected a number of bytes from 4096 to 536870912"},
		{"--leases.file x --netlink.receive-buffer 8MiB", `invalid value "8MiB" for flag -netlink.receive-buffer`},
		{"--leases.file x --web.telemetry-path /debug/pprof/metrics", "expected a path like /metrics"},
		{"--leases.file x --metrics.max-problems -1", "--metrics.max-problems is -1: expected 0 or more"},
		{"--leases.file x --log.level loud", `--log.level is "loud": expected debug, info, warn, error`},
		{"--leases.file x --log.format xml", `--log.format is "xml": expected logfmt, json`},
		{"--leases.file x --flannel.backend vxlam", `--flannel.backend is "vxlam": expected one of vxlan, host-gw,`},
		{"--leases.file x --flannel.network 10.244.0.1/16", `--flannel.network is "10.244.0.1/16": expected a prefix`},
		{"--leases.file x --flannel.network 10.0.0.0/8,11.0.0.0/8", "--flannel.network has two prefixes of one family"},
		{"--leases.file x --flannel.families ipv5", `--flannel.families: unknown address family "ipv5": expected ipv4 or ipv6`},
		{"--leases.file x --flannel.net-conf /nonexistent", "--flannel.net-conf: open /nonexistent: no such file or directory"},
		{"--leases.file x --flannel.annotation-prefix a/b/c", "--flannel.annotation-prefix: "},
		{"--leases.file x --web.listen-address nowhere", `--web.listen-address is "nowhere": expected ADDRESS:PORT`},
		{"--leases.file x --web.telemetry-path /api/v1/status", `--web.telemetry-path is "/api/v1/status": expected a path like /metrics`},
		{"--leases.file x --web.config.file " + webConfig, "--web.config.file: "},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			noCluster(t)
			var stdout, stderr bytes.Buffer
			code := run(context.Background(), append([]string{program}, strings.Fields(tt.args)...), &stdout, &stderr)
			if code != 3 || stdout.Len() > 0 {
				t.Errorf("exit code %d, stdout %q; want 3 and nothing", code, &stdout)
			}
			if !strings.HasPrefix(stderr.String(), program+": ") || !strings.Contains(stderr.String(), tt.stderr) ||
				!strings.HasSuffix(stderr.String(), "Type \"routewatch-exporter --help\" for all flags.\n") {
				t.Errorf("stderr %q does not say %q and what to type", &stderr, tt.stderr)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for arg, want := range map[string]string{"--help": "$ROUTEWATCH_WEB_LISTEN_ADDRESS", "-h": "USAGE", "--version": "routewatch-exporter, version "} {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), []string{program, arg}, &stdout, &stderr)
		if code != 0 || stderr.Len() > 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want 0 and %q", arg, code, &stdout, &stderr, want)
		}
	}
}

func TestDaemon_AddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	netns.Must(t, err)
	defer l.Close()
	code, _, stderr := result(t, command("--leases.file", "x", "--web.listen-address", l.Addr().String()))
	if code != 2 || !strings.Contains(stderr, "address already in use: choose another address with --web.listen-address") {
		t.Errorf("exit code %d, stderr %q; want 2 and what to do", code, stderr)
	}
}

// Each address must ask for the password, not only the first.
func TestDaemon_Authentication(t *testing.T) {
	ns, file := node(t)
	webConfig := filepath.Join(t.TempDir(), "web.yml")
	netns.Must(t, os.WriteFile(webConfig, []byte("basic_auth_users:\n  alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze\n"), 0o600))
	d := startDaemon(t, 2, append(flagsOf(ns, file), "--web.listen-address", "127.0.0.2:0", "--web.config.file", webConfig)...)
	for _, url := range d.urls {
		r, err := http.Get(url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s answers %d without a password, want 401", url, r.StatusCode)
		}
	}
}

// A task that fails ends the process, and its name is in the message.
func TestDaemon_TaskFails(t *testing.T) {
	cmd := command("--leases.file", "x", "--netns", filepath.Join(t.TempDir(), "none"), "--web.listen-address", "127.0.0.1:0")
	code, _, stderr := result(t, cmd)
	if code != 2 || !strings.Contains(stderr, program+": kernel: ") {
		t.Errorf("exit code %d, stderr %q; want 2 and the name of the task", code, stderr)
	}
}
