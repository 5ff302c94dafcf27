package api

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"routewatch/shared/wire"
)

// healthy answers whether the process works. It asks neither the network nor
// the state of the node: restarting the exporter mends neither.
func (h handler) healthy(w http.ResponseWriter, _ *http.Request) {
	idle := h.Idle().Round(time.Millisecond)
	if idle > MaxIdle {
		Problem(w, http.StatusServiceUnavailable, fmt.Sprintf("the loop turned %s ago: expected at most %s; restart the exporter", idle, MaxIdle))
		return
	}
	text(w, fmt.Sprintf("healthy: the loop turned %s ago\n", idle))
}

// ready answers whether the exporter ever had both sides to compare.
func (h handler) ready(w http.ResponseWriter, _ *http.Request) {
	s := h.Latest()
	if s.LeasesRead && s.KernelRead {
		text(w, "ready: leases and kernel were read\n")
		return
	}
	Problem(w, http.StatusServiceUnavailable, "waiting for "+strings.Join(awaited(s), "; and for "))
}

// awaited names the sides that were never read, and why if that is known.
func awaited(s *wire.Snapshot) []string {
	var sides []string
	if !s.LeasesRead {
		sides = append(sides, side("the leases", s, func(name string) bool { return name != "kernel" }))
	}
	if !s.KernelRead {
		sides = append(sides, side("the kernel", s, func(name string) bool { return name == "kernel" }))
	}
	return sides
}

func side(name string, s *wire.Snapshot, is func(source string) bool) string {
	for _, o := range s.Sources {
		if is(o.Name) && o.Problem != "" {
			return name + ": " + o.Problem
		}
	}
	return name
}

func text(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(body))
}
