package redact_test

import (
	"os"
	"strings"
	"testing"

	"routewatch/cli/internal/redact"
)

func BenchmarkText(b *testing.B) {
	raw, err := os.ReadFile("../../testdata/cluster/broken/node-2/leases.json")
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat(string(raw), 1+(1<<20)/len(raw))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		redact.Text(text)
	}
}
