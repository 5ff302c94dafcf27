package client_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"routewatch/cli/internal/client"
)

func TestNew(t *testing.T) {
	tests := []struct{ address, want string }{
		{"http://127.0.0.1:10098", "http://127.0.0.1:10098/x"},
		{"http://127.0.0.1:10098/", "http://127.0.0.1:10098/x"},
		{"http://127.0.0.1:8001/api/v1/proxy/", "http://127.0.0.1:8001/api/v1/proxy/x"},
		{"https://node-1", "https://node-1/x"},
		{"node-1", "http://node-1:10098/x"},
		{"node-1:80", "http://node-1:80/x"},
		{"192.168.1.57", "http://192.168.1.57:10098/x"},
		{"fd00::1", "http://[fd00::1]:10098/x"},
		{"[fd00::1]:80", "http://[fd00::1]:80/x"},
		{"http://me:secret@node-1:80", "http://me:xxxxx@node-1:80/x"},
	}
	for _, tt := range tests {
		c, err := client.New(tt.address, client.Options{Timeout: time.Second})
		if err != nil {
			t.Errorf("New(%q): %v", tt.address, err)
			continue
		}
		if got := c.URL("/x"); got != tt.want {
			t.Errorf("New(%q).URL = %q, want %q", tt.address, got, tt.want)
		}
	}
}

func TestNew_Bad(t *testing.T) {
	for _, address := range []string{
		"", "http://", "unix:///run/x", "http://node-1?a=b", "http://node-1#a", "http://node-1:port", "a b", "http://:10098",
		"http://me:secret@node-1:port", "me:secret@node-1:port",
	} {
		_, err := client.New(address, client.Options{Timeout: time.Second})
		if err == nil {
			t.Errorf("New(%q) is no error", address)
			continue
		}
		if text := err.Error(); strings.Contains(text, "secret") || !strings.Contains(text, "expected for example http://127.0.0.1:10098") {
			t.Errorf("New(%q): %v", address, err)
		}
	}
}

// ask returns the error of a Status of a server.
func ask(t *testing.T, url string) error {
	t.Helper()
	c, err := client.New(url, client.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	return err
}

func TestStatus_TooLarge(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for range 17 {
			_, _ = w.Write([]byte(strings.Repeat(" ", 1<<20)))
		}
	}))
	defer s.Close()
	if err := ask(t, s.URL); !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Error(err)
	}
}

func TestStatus_NoContentType(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = w.Write([]byte("{}"))
	}))
	defer s.Close()
	if err := ask(t, s.URL); !strings.Contains(err.Error(), "of no known type") {
		t.Error(err)
	}
}

func TestStatus_TLS(t *testing.T) {
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	plain, secure := httptest.NewServer(nothing), httptest.NewUnstartedServer(nothing)
	defer plain.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it would report what the test is about
	secure.StartTLS()
	defer secure.Close()
	tests := []struct{ name, url, want string }{
		{"untrusted", secure.URL, "is not trusted"},
		{"TLS to a plain exporter", "https" + strings.TrimPrefix(plain.URL, "http"), "does not speak TLS; pass --exporter " + plain.URL},
		{"plain to a TLS exporter", "http" + strings.TrimPrefix(secure.URL, "https"), "pass --exporter " + secure.URL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := ask(t, tt.url); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want ... %s ...", err, tt.want)
			}
		})
	}
}

func TestStatus_Interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	c, err := client.New(s.URL, client.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "interrupted before") {
		t.Error(err)
	}
}
