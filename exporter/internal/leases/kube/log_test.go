package kube

import (
	"bytes"
	"log/slog"
	"testing"
)

// client-go's warnings are for whoever debugs; its bodies are for nobody.
func TestQuiet(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelInfo:  "",
		slog.LevelDebug: "level=DEBUG msg=Warning k=v logger=nodes\nlevel=DEBUG msg=Error\n",
	} {
		var b bytes.Buffer
		log := quiet(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})))
		log.WithName("nodes").WithValues("k", "v").Info("Warning")
		log.Error(nil, "Error")
		log.V(2).Info("Body")
		if got := b.String(); got != want {
			t.Errorf("at %s: got %q, want %q", level, got, want)
		}
	}
}
