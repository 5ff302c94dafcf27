package main

import (
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"routewatch/exporter/internal/api"
)

// What clients may take. A client that sends slowly loses its connection after
// headerTimeout, and one that reads slowly after the server's WriteTimeout.
const (
	maxConnections = 128 // of one address; more wait in the kernel's queue
	maxRequests    = 64  // under way at once, of all addresses
	maxHeaderBytes = 16 << 10
	headerTimeout  = 5 * time.Second
)

// bounded answers at most maxRequests requests at once, none of which may have
// a body: nothing here reads one. The probes are never turned away, since the
// kubelet would restart an exporter that is merely busy. Profiles are served
// only where they were asked for: they slow the program down and show its inside.
func bounded(next http.Handler, profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	slots := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 { // -1: of unknown length
			w.Header().Set("Connection", "close") // instead of reading the rest
			api.Problem(w, http.StatusRequestEntityTooLarge, "the request has a body: expected none")
			return
		}
		if strings.HasPrefix(r.URL.Path, "/-/") {
			next.ServeHTTP(w, r)
			return
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			mux.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			api.Problem(w, http.StatusServiceUnavailable, "too many requests are under way: try again in a second")
		}
	})
}

// limit accepts connections only while fewer than n are open.
func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	slots  chan struct{} // one for each open connection
	once   sync.Once
	closed chan struct{}
}

// Accept waits for a connection, and first for room for it.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slot{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close also ends an Accept that waits for room.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// slot is a connection that makes room when it is closed.
type slot struct {
	net.Conn
	free func()
}

func (s *slot) Close() error {
	defer s.free()
	return s.Conn.Close()
}
