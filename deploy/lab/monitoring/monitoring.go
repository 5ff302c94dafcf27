//go:build linux

// Package monitoring runs a real Prometheus, and a real Alertmanager behind it,
// for tests. `make parts` builds them.
//
//	m, err := monitoring.Start(ctx, monitoring.Config{Dir: t.TempDir(), Rules: rules, Inhibit: inhibit, Targets: targets})
//	defer m.Close()
//	m.Query(ctx, "up")
//	m.Alerts(ctx)
package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/process"
)

// Target is an exporter.
type Target struct {
	Address string            // host:port
	Labels  map[string]string // besides job="routewatch"
}

// Config says what is scraped, and what is done with it. Everything happens
// once a second.
type Config struct {
	Dir     string // for their files
	Rules   []byte // a file of rules
	Inhibit []byte // the part of an Alertmanager's configuration with the inhibitions
	Targets []Target
}

// Monitoring is a running pair.
type Monitoring struct {
	URL, AlertmanagerURL string
	launcher             *process.Launcher
	programs             []*process.Process
}

const readyTimeout = 60 * time.Second

// Start returns when both are ready.
func Start(ctx context.Context, cfg Config) (*Monitoring, error) {
	m := &Monitoring{launcher: process.NewLauncher()}
	if err := m.start(ctx, cfg); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Monitoring) start(ctx context.Context, cfg Config) error {
	addresses, err := free(2)
	if err != nil {
		return err
	}
	m.URL, m.AlertmanagerURL = "http://"+addresses[0], "http://"+addresses[1]
	file := func(name string) string { return filepath.Join(cfg.Dir, name) }
	alertmanager, err := cfg.alertmanager()
	if err != nil {
		return err
	}
	prometheus, err := yaml.Marshal(cfg.prometheus(addresses[1], file("rules.yml")))
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"prometheus.yml": prometheus, "alertmanager.yml": alertmanager, "rules.yml": cfg.Rules} {
		if err := os.WriteFile(file(name), text, 0o600); err != nil {
			return err
		}
	}
	if err := m.run(cfg.Dir, "alertmanager", "--config.file", file("alertmanager.yml"), "--storage.path", file("alertmanager"),
		"--web.listen-address", addresses[1], "--cluster.listen-address="); err != nil {
		return err
	}
	if err := m.run(cfg.Dir, "prometheus", "--config.file", file("prometheus.yml"), "--storage.tsdb.path", file("prometheus"),
		"--web.listen-address", addresses[0]); err != nil {
		return err
	}
	for _, u := range []string{m.URL, m.AlertmanagerURL} {
		if err := m.ready(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// prometheus is its configuration.
func (cfg *Config) prometheus(alertmanager, rules string) any {
	type object = map[string]any
	var targets []object
	for _, t := range cfg.Targets {
		targets = append(targets, object{"targets": []string{t.Address}, "labels": t.Labels})
	}
	return object{
		"global":     object{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{rules},
		"alerting": object{
			"alertmanagers": []object{{"static_configs": []object{{"targets": []string{alertmanager}}}}},
		},
		"scrape_configs": []object{{"job_name": "routewatch", "static_configs": targets}},
	}
}

// alertmanager is its configuration: it tells nobody.
func (cfg *Config) alertmanager() ([]byte, error) {
	all := map[string]any{}
	if err := yaml.Unmarshal(cfg.Inhibit, &all); err != nil {
		return nil, err
	}
	all["route"] = map[string]any{"receiver": "nobody", "group_wait": "1s", "group_interval": "1s"}
	all["receivers"] = []any{map[string]any{"name": "nobody"}}
	return yaml.Marshal(all)
}

func (m *Monitoring) run(dir, name string, args ...string) error {
	path, err := cluster.Part(name)
	if err != nil {
		return err
	}
	p := &process.Process{Path: path, Args: args, Log: filepath.Join(dir, name+".log"), Home: dir}
	if err := m.launcher.Start(p); err != nil {
		return err
	}
	m.programs = append(m.programs, p)
	return nil
}

func (m *Monitoring) ready(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := get(ctx, address+"/-/ready", nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			words := ""
			for _, p := range m.programs {
				words += "\n" + p.Path + ":\n" + p.Tail()
			}
			return fmt.Errorf("%s is not ready: %w; last words:%s", address, err, words)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Close ends both.
func (m *Monitoring) Close() {
	for _, p := range m.programs {
		p.Stop()
	}
	m.launcher.Close()
}

// Sample is a value of a series.
type Sample struct {
	Metric map[string]string
	Value  string
}

// Query asks Prometheus for the value of an expression now.
func (m *Monitoring) Query(ctx context.Context, expr string) ([]Sample, error) {
	var answer struct {
		Data struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := get(ctx, m.URL+"/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	if answer.Data.ResultType != "vector" {
		return nil, fmt.Errorf("%s gives a %s, expected a vector", expr, answer.Data.ResultType)
	}
	var vector []struct {
		Metric map[string]string
		Value  [2]any
	}
	if err := json.Unmarshal(answer.Data.Result, &vector); err != nil {
		return nil, err
	}
	var samples []Sample
	for _, v := range vector {
		samples = append(samples, Sample{v.Metric, fmt.Sprint(v.Value[1])})
	}
	return samples, nil
}

// Values asks Prometheus for the values of a label, as Grafana does for a variable.
func (m *Monitoring) Values(ctx context.Context, label, match string) (values []string, err error) {
	var answer struct{ Data []string }
	err = get(ctx, m.URL+"/api/v1/label/"+label+"/values?match[]="+url.QueryEscape(match), &answer)
	return answer.Data, err
}

// Rule is one that Prometheus has.
type Rule struct{ Name, Health, LastError string }

// Rules are all of them.
func (m *Monitoring) Rules(ctx context.Context) (rules []Rule, err error) {
	var answer struct {
		Data struct{ Groups []struct{ Rules []Rule } }
	}
	if err := get(ctx, m.URL+"/api/v1/rules", &answer); err != nil {
		return nil, err
	}
	for _, g := range answer.Data.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules, nil
}

// Alert is one that Alertmanager has.
type Alert struct {
	Labels, Annotations map[string]string
	Status              struct {
		State       string   // "active", or "suppressed"
		InhibitedBy []string // fingerprints of others
	}
}

// Alerts are those that fire, as Alertmanager has them.
func (m *Monitoring) Alerts(ctx context.Context) (alerts []Alert, err error) {
	err = get(ctx, m.AlertmanagerURL+"/api/v2/alerts", &alerts)
	return alerts, err
}

// Send gives Alertmanager alerts as another Prometheus would: each is its labels.
// They fire until they are sent as ended.
func (m *Monitoring) Send(ctx context.Context, ended bool, alerts ...map[string]string) error {
	type object = map[string]any
	var all []object
	for _, labels := range alerts {
		a := object{"labels": labels}
		if ended {
			a["endsAt"] = time.Now().Format(time.RFC3339Nano)
		}
		all = append(all, a)
	}
	body, err := json.Marshal(all)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.AlertmanagerURL+"/api/v2/alerts", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return do(req, nil)
}

func get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	return do(req, into)
}

// do sends a request and decodes the answer.
func do(req *http.Request, into any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read only
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", req.URL, resp.Status, body)
	case into == nil:
		return nil
	}
	return json.Unmarshal(body, into)
}

// free are addresses on loopback at which nothing listens.
func free(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // nobody has connected
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
