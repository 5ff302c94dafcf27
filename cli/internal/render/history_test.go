package render_test

import (
	"strings"
	"testing"

	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

func TestStatus_History(t *testing.T) {
	good := &wire.History{Path: "/var/lib/routewatch/history", Bytes: 12345, MaxSize: 10 << 20}
	bad := &wire.History{Path: "/var/lib/routewatch/history", Lost: 2, WriteErrors: 1, Problem: "no space left on device"}
	for _, tt := range []struct {
		name    string
		history *wire.History
		wide    bool
		want    string // "": nothing
	}{
		{"none", nil, true, ""},
		{"well", good, false, ""},
		{"well, wide", good, true, "HISTORY   /var/lib/routewatch/history, 12,345 of at most 10,485,760 bytes\n"},
		{"failing", bad, false, "HISTORY   /var/lib/routewatch/history: no space left on device (2 records lost, 1 failure to write)\n"},
	} {
		text := render.Status(&wire.NodeStatus{History: tt.history}, render.Options{Now: now, Wide: tt.wide})
		if has := strings.Contains(text, "HISTORY"); has != (tt.want != "") || !strings.Contains(text, tt.want) {
			t.Errorf("%s: want %q in\n%s", tt.name, tt.want, text)
		}
	}
}
