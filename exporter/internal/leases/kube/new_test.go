package kube

import (
	"path/filepath"
	"strings"
	"testing"
)

// environment clears what could lead to a real cluster.
func environment(t *testing.T) {
	t.Helper()
	for _, name := range []string{"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} {
		t.Setenv(name, "")
	}
}

func TestNew(t *testing.T) {
	const token = `"token": "secret"`
	first := func(t *testing.T) string { return kubeconfig(t, `"server": "https://10.0.0.1:6443"`, token) }
	other := func(t *testing.T) string { return kubeconfig(t, `"server": "https://10.0.0.2:6443"`, token) }
	for _, tt := range []struct {
		name   string
		config func(t *testing.T) Config
		server string
		origin string
		bearer bool
	}{
		{"kubeconfig", func(t *testing.T) Config { return Config{Kubeconfig: first(t)} }, "https://10.0.0.1:6443", "kubeconfig ", true},
		{"the flag before the variable", func(t *testing.T) Config {
			t.Setenv("KUBECONFIG", other(t))
			return Config{Kubeconfig: first(t)}
		}, "https://10.0.0.1:6443", "kubeconfig ", true},
		{"the variable before the pod", func(t *testing.T) Config {
			t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
			t.Setenv("KUBERNETES_SERVICE_PORT", "443")
			t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none")+":"+other(t))
			return Config{}
		}, "https://10.0.0.2:6443", "$KUBECONFIG ", true},
		{"another URL", func(t *testing.T) Config {
			return Config{Kubeconfig: first(t), APIServer: "https://api.example.com/k8s/clusters/c-1"}
		}, "https://api.example.com/k8s/clusters/c-1", "kubeconfig ", true},
		{"no credentials over http", func(t *testing.T) Config { return Config{Kubeconfig: first(t), APIServer: "http://10.0.0.3:8001"} },
			"http://10.0.0.3:8001", "kubeconfig ", false},
		{"a URL alone", func(*testing.T) Config { return Config{APIServer: "http://127.0.0.1:8001"} }, "http://127.0.0.1:8001", "no credentials", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			environment(t)
			cfg := tt.config(t)
			found, err := find(cfg)
			must(t, err)
			if (found.config.BearerToken == "secret") != tt.bearer {
				t.Errorf("token %q", found.config.BearerToken)
			}
			s, err := New(cfg)
			must(t, err)
			if s.Server() != tt.server || !strings.HasPrefix(s.Credentials(), tt.origin) {
				t.Errorf("server %q, credentials %q; want %q, %q", s.Server(), s.Credentials(), tt.server, tt.origin)
			}
		})
	}
}

func TestNew_Errors(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	write(t, bad, "{")
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"missing kubeconfig", Config{Kubeconfig: missing}, "kubeconfig " + missing + ": stat " + missing + ": no such file or directory: expected a file that kubectl can use"},
		{"bad kubeconfig", Config{Kubeconfig: bad}, "kubeconfig " + bad + ": error loading config file"},
		{"no context", Config{Kubeconfig: kubeconfigWithout(t)}, "try it with `kubectl get nodes`"},
		{"missing CA", Config{Kubeconfig: kubeconfig(t, `"server": "https://10.0.0.1", "certificate-authority": "`+missing+`"`, "")}, missing},
		{"no URL", Config{APIServer: "10.0.0.1:6443"}, `the API server is "10.0.0.1:6443": expected a URL, e.g. https://10.0.0.1:6443`},
		{"another scheme", Config{APIServer: "ftp://10.0.0.1"}, "expected a URL"},
		{"a password", Config{APIServer: "https://a:b@10.0.0.1"}, "expected a URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			environment(t)
			if _, err := New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %s", err, tt.want)
			}
		})
	}
	t.Run("in a pod without a token", func(t *testing.T) {
		environment(t)
		t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
		t.Setenv("KUBERNETES_SERVICE_PORT", "443")
		_, err := New(Config{})
		if err == nil || !strings.Contains(err.Error(), "the pod's service account: open /var/run/secrets/kubernetes.io/serviceaccount/token") || !strings.HasSuffix(err.Error(), "or give --kubeconfig") {
			t.Errorf("error %v", err)
		}
	})
}

func kubeconfigWithout(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty")
	write(t, path, "apiVersion: v1\nkind: Config\n")
	return path
}
