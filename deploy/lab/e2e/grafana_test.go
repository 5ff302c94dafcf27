//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"routewatch/dashboards"
	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/flannel"
	"routewatch/deploy/lab/monitoring"
	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/process"
)

// TestGrafana opens the dashboards in a real Grafana, over a real Prometheus that
// scrapes the exporters of four nodes with real flannel: well, and after a flap.
// No panel shows an error or nothing. It is outside of `make e2e`: `make grafana`
// builds Grafana, which takes long. With ROUTEWATCH_SCREENSHOTS it writes pictures.
func TestGrafana(t *testing.T) {
	home := os.Getenv("ROUTEWATCH_GRAFANA")
	if home == "" {
		t.Skip("ROUTEWATCH_GRAFANA is not set, which names a built Grafana; type: make grafana")
	}
	netns.Require(t)
	netns.Must(t, build())
	control := cluster.StartT(t, cluster.Config{})
	c, err := flannel.Start(t.Context(), flannel.Options{
		Nodes: 4, Control: control, Exporter: filepath.Join(programs, "routewatch-exporter"), ExporterFlags: []string{"--grace", "3s"},
	})
	netns.Must(t, err)
	t.Cleanup(func() { netns.Must(t, c.Close()) })
	var targets []monitoring.Target
	for _, n := range c.Nodes() {
		targets = append(targets, monitoring.Target{Address: strings.TrimPrefix(n.URL(), "http://"), Labels: map[string]string{
			"node": n.Name, "instance": n.Name, "namespace": "routewatch", "cluster": "lab",
		}})
	}
	m, err := monitoring.Start(t.Context(), monitoring.Config{Dir: t.TempDir(), Rules: dashboards.Rules, Targets: targets})
	netns.Must(t, err)
	t.Cleanup(m.Close)
	g := startGrafana(t, home, m.URL)

	time.Sleep(90 * time.Second) // a graph needs a past
	g.look(t, "well")
	s := &scenario{cluster: c, ctx: t.Context(), control: func() *cluster.Cluster { return control }}
	for _, command := range []string{
		"node-2 ip link set flannel.1 down", "node-2 ip link set flannel.1 up",
		"node-3 ip route add 10.244.4.0/25 via 192.168.1.1 dev ens33", "node-3 ip neigh del 10.244.1.0 dev flannel.1",
	} {
		netns.Must(t, s.on(strings.Fields(command)))
	}
	time.Sleep(45 * time.Second)
	g.look(t, "broken")
}

// grafana is a running one.
type grafana struct{ url, profile string }

func startGrafana(t *testing.T, home, prometheus string) *grafana {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	netns.Must(t, err)
	address := l.Addr().String()
	netns.Must(t, l.Close())
	host, port, err := net.SplitHostPort(address)
	netns.Must(t, err)
	files := map[string]string{
		"provisioning/datasources/prometheus.yaml": "apiVersion: 1\ndatasources:\n- {name: default, uid: default, type: prometheus, access: proxy, url: \"" +
			prometheus + "\", isDefault: true, jsonData: {timeInterval: 1s}}\n",
		"provisioning/dashboards/routewatch.yaml": "apiVersion: 1\nproviders:\n- {name: routewatch, type: file, options: {path: \"" + dir + "/boards\"}}\n",
	}
	names, err := fs.Glob(dashboards.Grafana, "*.json")
	netns.Must(t, err)
	for _, name := range names {
		raw, err := dashboards.Grafana.ReadFile(name)
		netns.Must(t, err)
		files["boards/"+name] = string(raw)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		netns.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		netns.Must(t, os.WriteFile(path, []byte(content), 0o600))
	}
	launcher := process.NewLauncher()
	p := &process.Process{
		Path: filepath.Join(home, "bin", "grafana"), Args: []string{"server", "--homepath", filepath.Join(home, "src")},
		Log: filepath.Join(dir, "grafana.log"), Home: dir,
		Env: []string{
			"GF_SECURITY_ANGULAR_SUPPORT_ENABLED=false", "GF_AUTH_ANONYMOUS_ENABLED=true", "GF_AUTH_ANONYMOUS_ORG_ROLE=Admin",
			"GF_ANALYTICS_REPORTING_ENABLED=false", "GF_ANALYTICS_CHECK_FOR_UPDATES=false", "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES=false",
			"GF_SERVER_HTTP_ADDR=" + host, "GF_SERVER_HTTP_PORT=" + port, "GF_PATHS_DATA=" + filepath.Join(dir, "data"),
			"GF_PATHS_PROVISIONING=" + filepath.Join(dir, "provisioning"), "GF_USERS_DEFAULT_THEME=light",
		},
	}
	netns.Must(t, launcher.Start(p))
	t.Cleanup(func() {
		p.Stop()
		launcher.Close()
		if t.Failed() {
			t.Logf("Grafana's last words:\n%s", p.Tail())
		}
	})
	g := &grafana{"http://" + address, t.TempDir()}
	within(t, 90*time.Second, "Grafana is ready", func() bool {
		resp, err := http.Get(g.url + "/api/dashboards/uid/routewatch-overview")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return g
}

// look opens both dashboards and demands that each panel shows something.
func (g *grafana) look(t *testing.T, state string) {
	t.Helper()
	type board struct {
		URL    string `json:"url"`
		Width  int    `json:"width"`
		Height int    `json:"height"`
		PNG    string `json:"png"`
		Shown  int    `json:"shown"` // of the height, in the picture
	}
	var open []board
	panels := boardPanels(t)
	uids := []string{"routewatch-overview", "routewatch-node"}
	for _, uid := range uids {
		b := board{URL: g.url + "/d/" + uid + "/" + uid + "?orgId=1&kiosk&from=now-3m&to=now&var-datasource=default", Width: 1280, Height: 1950, Shown: 1060}
		if uid == "routewatch-node" {
			b.URL += "&var-node=node-2"
		}
		if dir := os.Getenv("ROUTEWATCH_SCREENSHOTS"); dir != "" {
			b.PNG = filepath.Join(dir, strings.TrimPrefix(uid, "routewatch-")+"-"+state+".png")
		}
		open = append(open, b)
	}
	args, err := json.Marshal(open)
	netns.Must(t, err)
	chromium, err := exec.LookPath("chromium")
	netns.Must(t, err)
	cmd := exec.CommandContext(t.Context(), "node", "testdata/grafana.mjs", string(args))
	cmd.Env = append(os.Environ(), "ROUTEWATCH_CHROMIUM="+chromium, "ROUTEWATCH_PROFILE="+g.profile)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	netns.Must(t, err)
	lines := bufio.NewScanner(bytes.NewReader(out))
	for _, uid := range uids {
		if !lines.Scan() {
			t.Fatalf("%s was not looked at", uid)
		}
		var seen struct {
			Panels        int
			Empty, Errors []string
		}
		netns.Must(t, json.Unmarshal(lines.Bytes(), &seen))
		fmt.Printf("    %s, %s: %d panels\n", uid, state, seen.Panels)
		if want := len(panels[uid+".json"]); seen.Panels != want || len(seen.Empty)+len(seen.Errors) > 0 {
			t.Errorf("%s, %s: %d panels, want %d; without data %q; errors %q", uid, state, seen.Panels, want, seen.Empty, seen.Errors)
		}
	}
}
