package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/sys/unix"
)

// shutdownTimeout is how long answers that are under way may take once the
// program is asked to stop.
const shutdownTimeout = 3 * time.Second

// listen opens all addresses, or none.
func listen(ctx context.Context, addresses []string) ([]net.Listener, error) {
	var listeners []net.Listener
	cfg := net.ListenConfig{Control: freebind}
	for _, a := range addresses {
		l, err := cfg.Listen(ctx, "tcp", a)
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			return nil, fmt.Errorf("%w: choose another address with --%s", err, flagListenAddress)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// freebind lets an address be listened on that the node does not have just now:
// a lost DHCP lease must not keep the exporter from starting on the very node
// that is broken. It takes no capability. Where the kernel refuses, the address
// must be there.
func freebind(network, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		if network == "tcp4" {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1)
		} else {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
		}
	})
}

// serve answers until ctx ends, which is no error. Each listener has a server
// of its own since web.Serve changes the server that it is given.
func serve(ctx context.Context, l net.Listener, handler http.Handler, webConfig string, log *slog.Logger) error {
	l = limit(l, maxConnections)
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // broken connections are not ours to mend
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		patience, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if server.Shutdown(patience) != nil {
			_ = server.Close()
		}
	})
	log.Info("listening", "address", l.Addr().String(), "webConfig", webConfig)
	err := web.Serve(l, server, &web.FlagConfig{WebConfigFile: &webConfig}, slog.New(quiet{log.Handler()}))
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// quiet keeps the toolkit from saying in its words what was just logged.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}
