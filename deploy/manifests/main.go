// Manifests writes, below ./deploy, what is made from other files: the
// PrometheusRule and the dashboard's ConfigMap from dashboards/, and one plain
// manifest from each kustomization, for those who do not use kustomize.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"routewatch/dashboards"
)

func main() {
	if err := write("deploy"); err != nil {
		fmt.Fprintf(os.Stderr, "manifests: %v\n", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	made, err := render(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("%w: run it in the root of the checkout, by `make manifests`", err)
	}
	for name, content := range made {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render makes all files from those in deploy/.
func render(deploy fs.FS) (map[string]string, error) {
	boards, err := configMap(dashboards.Grafana)
	if err != nil {
		return nil, err
	}
	made := map[string]string{
		"monitoring/prometheusrule.yaml": prometheusRule(string(dashboards.Rules)),
		"monitoring/dashboard.yaml":      boards,
	}
	for name, folder := range map[string]string{"routewatch.yaml": "base", "monitoring.yaml": "monitoring"} {
		joined, err := join(deploy, folder, made)
		if err != nil {
			return nil, err
		}
		made[name] = joined
	}
	return made, nil
}

// kustomization is what may be in one here: with any other field the resources
// alone would not be what kustomize makes of it.
type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources"`
}

// join appends the resources of a kustomization, comments included. Those in
// made are not read, since they are just being written.
func join(deploy fs.FS, folder string, made map[string]string) (string, error) {
	name := path.Join(folder, "kustomization.yaml")
	raw, err := fs.ReadFile(deploy, name)
	if err != nil {
		return "", err
	}
	var k kustomization
	if err := yaml.UnmarshalStrict(raw, &k); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Made from deploy/%s by `make manifests`: change it there.\n", folder)
	for _, resource := range k.Resources {
		resource = path.Join(folder, resource)
		content, ok := made[resource]
		if !ok {
			raw, err := fs.ReadFile(deploy, resource)
			if err != nil {
				return "", fmt.Errorf("%s: %w", name, err)
			}
			content = string(raw)
		}
		b.WriteString("---\n" + content)
	}
	return b.String(), nil
}

const labels = `  labels:
    app.kubernetes.io/name: routewatch
    app.kubernetes.io/component: %s
    app.kubernetes.io/part-of: routewatch
`

func prometheusRule(rules string) string {
	return "# Made from dashboards/rules/routewatch.rules.yaml by `make manifests`: change it there.\n" +
		`apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: routewatch
  namespace: routewatch
` + fmt.Sprintf(labels, "alerts") + "spec:\n" + indent(rules, "  ")
}

// configMap has the label by which Grafana's sidecar finds dashboards.
func configMap(boards fs.FS) (string, error) {
	names, err := fs.Glob(boards, "*.json")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Made from dashboards/*.json by `make manifests`: change it there.\n" +
		`apiVersion: v1
kind: ConfigMap
metadata:
  name: routewatch-dashboards
  namespace: routewatch
` + fmt.Sprintf(labels, "dashboard") + `    grafana_dashboard: "1"
  annotations:
    grafana_folder: routewatch
data:
`)
	for _, name := range names {
		board, err := fs.ReadFile(boards, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "  %s: |\n%s", name, indent(string(board), "    "))
	}
	return b.String(), nil
}

// indent leaves empty lines empty.
func indent(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(by)
		}
		b.WriteString(line)
	}
	return b.String()
}
