package kube

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"routewatch/shared/lease"
)

// overTLS serves with a certificate of its own, in HTTP/2, and returns the path of its CA.
func overTLS(t *testing.T, s *server) (url, ca string) {
	t.Helper()
	h := httptest.NewUnstartedServer(s)
	h.EnableHTTP2 = true
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	ca = filepath.Join(t.TempDir(), "ca.crt")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})))
	return h.URL, ca
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

// kubeconfig writes one, with lines for the cluster and for the user.
func kubeconfig(t *testing.T, cluster, user string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	write(t, path, `{"apiVersion": "v1", "kind": "Config", "current-context": "x",
"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
"clusters": [{"name": "c", "cluster": {`+cluster+`}}], "users": [{"name": "u", "user": {`+user+`}}]}`)
	return path
}

// A token that is no longer accepted is told; the one that takes its place is
// used within a minute and a wait of the reflector.
func TestConnection_TokenRotates(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, "first\n")
	s := func() *server { s := three(); s.tokens = []string{"first"}; return s }
	inTLSBubble(t, token, s, func(t *testing.T, w *watched) {
		w.next(t, time.Second)
		w.with(func() { w.tokens = []string{"second"} })
		w.breakWatches()
		unauthorized := func(s lease.Set) bool {
			return strings.Contains(s.Problem, "it does not accept the credentials (401 Unauthorized)")
		}
		if s := w.until(t, 5*time.Second, "unauthorized", unauthorized); s.Complete || len(s.Leases) != 2 {
			t.Errorf("set %+v", s)
		}
		w.put(node("c", 4))
		write(t, token, "second\n")
		if s := w.until(t, 2*time.Minute, "complete", complete); len(s.Leases) != 3 {
			t.Errorf("set %+v", s)
		}
	})
}

// A connection on which nothing arrives any more, without its end: HTTP/2's
// pings find out.
func TestConnection_HalfOpen(t *testing.T) {
	inTLSBubble(t, "", three, func(t *testing.T, w *watched) {
		w.next(t, time.Second)
		w.put(node("c", 4))
		w.until(t, time.Second, "changed", func(s lease.Set) bool { return s.Complete && len(s.Leases) == 3 })

		w.swallow(true)
		w.remove("c")
		since := time.Now()
		lost := w.until(t, 46*time.Second, "incomplete", incomplete)
		if took := time.Since(since); took < 30*time.Second || len(lost.Leases) != 3 || !strings.Contains(lost.Problem, "the watch broke (http2: client connection lost)") {
			t.Errorf("after %s: %+v", took, lost)
		}
		time.Sleep(time.Minute)
		w.swallow(false)
		if s := w.until(t, 3*time.Minute, "complete", complete); !slices.Equal(peers(s), []string{"a", "b"}) {
			t.Errorf("set %+v", s)
		}
	})
}

func TestConnection_Problems(t *testing.T) {
	url, ca := overTLS(t, three())
	plain := httptest.NewServer(three())
	t.Cleanup(plain.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for _, tt := range []struct{ name, url, ca, want string }{
		{"unknown CA", url, "", "its certificate is signed by an unknown authority: the CA of the kubeconfig"},
		{"another name", strings.Replace(url, "127.0.0.1", "localhost", 1), ca, "its certificate is not for this name: "},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), ca, "it does not speak TLS: is the port right"},
		{"no such name", "https://routewatch.invalid:6443", ca, "its name routewatch.invalid cannot be resolved"},
		{"refused", "https://" + closed.Addr().String(), ca, "connection refused: it does not run, or listens elsewhere"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			environment(t)
			cluster := `"server": "` + tt.url + `"`
			if tt.ca != "" {
				cluster += `, "certificate-authority": "` + tt.ca + `"`
			}
			source, err := New(Config{Kubeconfig: kubeconfig(t, cluster, "")})
			must(t, err)
			set, err := source.Read(t.Context())
			if err == nil || set.Complete || !strings.HasPrefix(err.Error(), "API server "+tt.url+" (kubeconfig ") || !strings.Contains(err.Error(), "): "+tt.want) {
				t.Errorf("error %v, set %+v; want %s", err, set, tt.want)
			}
		})
	}
}
