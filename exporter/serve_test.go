//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"routewatch/deploy/lab/netns"
)

// serveTest runs serve until the test ends and returns the address.
func serveTest(t *testing.T, webConfig string, h http.Handler) string {
	t.Helper()
	listeners, err := listen(context.Background(), []string{"127.0.0.1:0"})
	netns.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- serve(ctx, listeners[0], h, webConfig, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listeners[0].Addr().String()
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") }

// answer sends raw text and returns the status line of the answer.
func answer(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	netns.Must(t, err)
	defer c.Close()
	netns.Must(t, c.SetDeadline(time.Now().Add(patience)))
	_, _ = io.WriteString(c, request) // the server may answer, and close, before it is all sent
	line, err := bufio.NewReader(c).ReadString('\n')
	netns.Must(t, err)
	return strings.TrimSpace(line)
}

func TestServe_Limits(t *testing.T) {
	address := serveTest(t, "", bounded(http.HandlerFunc(ok), false))
	head := "GET / HTTP/1.1\r\nHost: x\r\n"
	for name, tt := range map[string]struct{ request, want string }{
		"plain":            {head + "\r\n", "200 OK"},
		"large header":     {head + "X: " + strings.Repeat("x", maxHeaderBytes/2) + "\r\n\r\n", "200 OK"},
		"too large header": {head + "X: " + strings.Repeat("x", 2*maxHeaderBytes) + "\r\n\r\n", "431 Request Header Fields Too Large"},
		"too many headers": {head + strings.Repeat("X: y\r\n", maxHeaderBytes) + "\r\n", "431 Request Header Fields Too Large"},
		"long path":        {"GET /" + strings.Repeat("x", 2*maxHeaderBytes) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431 Request Header Fields Too Large"},
		// Answered at once, although the body never comes.
		"body":         {head + "Content-Length: 1000000000000\r\n\r\n", "413 Request Entity Too Large"},
		"chunked body": {head + "Transfer-Encoding: chunked\r\n\r\n", "413 Request Entity Too Large"},
		"no HTTP":      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := answer(t, address, tt.request); got != "HTTP/1.1 "+tt.want && got != "HTTP/1.0 "+tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Requests beyond maxRequests are turned away at once, but never the probes;
// and there is room again when one ends.
func TestBounded_Requests(t *testing.T) {
	started, release := make(chan struct{}, maxRequests), make(chan struct{})
	h := bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			started <- struct{}{}
			<-release
		}
	}), false)
	code := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, http.NoBody))
		return w.Code
	}
	done := make(chan int)
	for range maxRequests {
		go func() { done <- code("/slow") }()
	}
	for range maxRequests {
		<-started
	}
	if got := code("/metrics"); got != http.StatusServiceUnavailable {
		t.Errorf("request %d: %d, want 503", maxRequests+1, got)
	}
	if got := code("/-/healthy"); got != http.StatusOK {
		t.Errorf("a probe of a busy exporter: %d, want 200", got)
	}
	close(release)
	for range maxRequests {
		<-done
	}
	if got := code("/metrics"); got != http.StatusOK {
		t.Errorf("when it is quiet again: %d, want 200", got)
	}
}

func TestBounded_Profiles(t *testing.T) {
	for enabled, want := range map[bool]int{false: http.StatusNotFound, true: http.StatusOK} {
		w := httptest.NewRecorder()
		bounded(http.NotFoundHandler(), enabled).ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/", http.NoBody))
		if w.Code != want {
			t.Errorf("profiles enabled %t: /debug/pprof/ answers %d, want %d", enabled, w.Code, want)
		}
	}
}

// Clients that send one byte and then nothing (slowloris) take every connection
// there is. They lose them after headerTimeout, and whoever waited is served.
func TestServe_Slowloris(t *testing.T) {
	address := serveTest(t, "", http.HandlerFunc(ok))
	var slow []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", address)
		netns.Must(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "G")
		netns.Must(t, err)
		slow = append(slow, c)
	}
	client := http.Client{Timeout: headerTimeout / 2, Transport: &http.Transport{DisableKeepAlives: true}}
	if r, err := client.Get("http://" + address); err == nil {
		r.Body.Close()
		t.Fatalf("connection %d is served while all others are open", maxConnections+1)
	}
	client.Timeout = 2 * headerTimeout
	began := time.Now()
	r, err := client.Get("http://" + address)
	netns.Must(t, err)
	r.Body.Close()
	t.Logf("served %s later", time.Since(began))
	netns.Must(t, slow[0].SetReadDeadline(time.Now().Add(patience)))
	if _, err := io.ReadAll(slow[0]); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a slow client keeps its connection")
	}
}

// A server that has no room ends all the same, and leaves nothing behind.
func TestLimit_Close(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	netns.Must(t, err)
	l := limit(inner, 1)
	c, err := net.Dial("tcp", l.Addr().String())
	netns.Must(t, err)
	defer c.Close()
	first, err := l.Accept()
	netns.Must(t, err)
	done := make(chan error)
	go func() { _, err := l.Accept(); done <- err }()
	netns.Must(t, l.Close())
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept without room, after Close: %v, want %v", err, net.ErrClosed)
	}
	netns.Must(t, first.Close())
}

// authority issues certificates for a test.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue writes NAME.crt and NAME.key; the first certificate signs itself.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	netns.Must(t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	netns.Must(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	netns.Must(t, err)
	write := func(file, kind string, b []byte) {
		netns.Must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
	}
	write(a.file(name+".crt"), "CERTIFICATE", der)
	write(a.file(name+".key"), "EC PRIVATE KEY", private)
	cert, err := x509.ParseCertificate(der)
	netns.Must(t, err)
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// client trusts the authority and shows a certificate of another, if there is one.
func (a *authority) client(t *testing.T, from *authority) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	cfg := &tls.Config{RootCAs: pool}
	if from != nil {
		pair, err := tls.LoadX509KeyPair(from.file("client.crt"), from.file("client.key"))
		netns.Must(t, err)
		cfg.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// webPassword is what the hash below was made of, by bcrypt with the least cost.
const webPassword = "made for this test"

// The web configuration of exporter-toolkit, all of it at once: TLS, a
// certificate that clients must show, and a password.
func TestServe_WebConfig(t *testing.T) {
	ca, stranger := newAuthority(t, "ca"), newAuthority(t, "stranger")
	for _, a := range []*authority{ca, stranger} {
		a.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	ca.issue(t, "server", &x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	webConfig := ca.file("web.yml")
	netns.Must(t, os.WriteFile(webConfig, fmt.Appendf(nil, `
tls_server_config:
  cert_file: %s
  key_file: %s
  client_ca_file: %s
  client_auth_type: RequireAndVerifyClientCert
basic_auth_users:
  alice: $2a$04$v2v5LHdPa9l/3e1QBPTdfuJfIzlxaA0KvL0aYzz5dfeP1n2XoQfvy
`, ca.file("server.crt"), ca.file("server.key"), ca.file("ca.crt")), 0o600))
	address := serveTest(t, webConfig, http.HandlerFunc(ok))

	get := func(c *http.Client, scheme, password string) (int, error) {
		r, err := http.NewRequest("GET", scheme+"://"+address, http.NoBody)
		netns.Must(t, err)
		if password != "" {
			r.SetBasicAuth("alice", password)
		}
		resp, err := c.Do(r)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	for name, tt := range map[string]struct {
		client           *http.Client
		scheme, password string
		want             int // 0: no answer
	}{
		"no TLS":                        {http.DefaultClient, "http", webPassword, 400},
		"no certificate":                {ca.client(t, nil), "https", webPassword, 0},
		"a stranger's certificate":      {ca.client(t, stranger), "https", webPassword, 0},
		"a server that is not trusted":  {stranger.client(t, ca), "https", webPassword, 0},
		"certificate, no password":      {ca.client(t, ca), "https", "", 401},
		"certificate, wrong password":   {ca.client(t, ca), "https", "wrong", 401},
		"certificate, and the password": {ca.client(t, ca), "https", webPassword, 200},
	} {
		if got, err := get(tt.client, tt.scheme, tt.password); got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("%s: %d %v, want %d", name, got, err, tt.want)
		}
	}
}

// An address that the node does not have just now keeps nothing from starting.
func TestListen_AddressNotThere(t *testing.T) {
	for _, address := range []string{"192.0.2.77:0", "[2001:db8::77]:0"} {
		l, err := listen(t.Context(), []string{address})
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = l[0].Close()
	}
}
