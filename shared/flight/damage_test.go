package flight_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"routewatch/shared/flight"
)

func TestReplay_Damage(t *testing.T) {
	p := play(t, 5)
	whole := bytes.Clone(p.Bytes())
	other := bytes.Clone(whole)
	other[p.ends[1]+30] ^= 1
	newer := bytes.Replace(whole, []byte("recording 1\n"), []byte("recording 2\n"), 1)
	tests := []struct {
		name    string
		file    []byte
		moments int
		want    string
	}{
		{"torn", whole[:len(whole)-3], 4, "record 5 .* it was not written to its end: expected"},
		{"torn in its head", whole[:p.ends[3]+5], 4, "record 5 .* not written to its end"},
		{"flipped bit", other, 2, "record 3 .*: expected the checksum .*, found .*; the next 2 are lost with it"},
		{"flipped bit, then another section", append(bytes.Clone(other), whole...), 7, "record 3 .*; the next 2"},
		{"torn, then another section", append(bytes.Clone(whole[:len(whole)-3]), whole...), 9, "record 5 .*"},
		{"joined", append(bytes.Clone(whole), whole...), 10, ""},
		{"newer", newer, 0, "has the format 2, and this routewatch reads up to 1: use the version .* that wrote it"},
		{"empty", nil, 0, "found nothing: .* --record FILE"},
		{"no recording", []byte("{}"), 0, "not a recording of routewatch"},
		{"only a start", whole[:23], 0, ""},
	}
	for _, tt := range tests {
		moments, told := 0, ""
		for _, err := range flight.Replay(bytes.NewReader(tt.file)) {
			if err != nil {
				told += err.Error()
				continue
			}
			moments++
		}
		if moments != tt.moments || !matches(tt.want, told) {
			t.Errorf("%s: %d moments, want %d; error %q, want %q", tt.name, moments, tt.moments, told, tt.want)
		}
	}
	if _, err := flight.All(bytes.NewReader(other)); !errors.As(err, new(*flight.Damage)) {
		t.Errorf("All: got %v, want damage", err)
	}
}

// matches looks for the parts of want, in their order.
func matches(want, got string) bool {
	if want == "" {
		return got == ""
	}
	for part := range strings.SplitSeq(want, ".*") {
		i := strings.Index(got, part)
		if i < 0 {
			return false
		}
		got = got[i+len(part):]
	}
	return true
}
