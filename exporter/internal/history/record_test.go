package history

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func incident(n int) *wire.Incident {
	return &wire.Incident{
		ID: fmt.Sprintf("20261123T120000Z-%d", n), Cause: verdict.CauseLinkDown, Device: "flannel.1", Start: noon,
		State: verdict.Missing, Effect: verdict.Leaking, Leases: 1, Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}, Around: []wire.Change{},
	}
}

func event(id uint64, t verdict.EventType, n int) wire.Event {
	return wire.Event{ID: id, Time: noon.Add(time.Duration(id) * time.Second), Type: t, Message: "a \"b\"\nc {\"crc\":\"00000000\",\"record\":{}}", Incident: incident(n)}
}

// sample is a file with three events, and the line that each record has.
func sample() (file []byte, ids []uint64) {
	file = encode(record{Header: &header{version}})
	for id := uint64(1); id <= 3; id++ {
		e := event(id, verdict.IncidentOpened, int(id))
		file = append(file, encode(record{Event: &e})...)
		ids = append(ids, id)
	}
	return file, ids
}

func idsOf(p parsed) []uint64 {
	var ids []uint64
	for _, r := range p.records {
		if r.Event != nil {
			ids = append(ids, r.Event.ID)
		}
	}
	return ids
}

func TestParse_Whole(t *testing.T) {
	b, want := sample()
	p := parse(b)
	if diff := cmp.Diff(want, idsOf(p)); diff != "" || p.torn != 0 || p.untidy || len(p.damaged) > 0 {
		t.Errorf("%+v, ids (-want +got):\n%s", p, diff)
	}
	if p := parse(nil); len(p.records) != 0 || p.untidy || p.torn != 0 {
		t.Errorf("an empty file: %+v", p)
	}
}

// Cut off anywhere, a file has lost its last record at most, and says so.
func TestParse_CutOffAtEachByte(t *testing.T) {
	b, want := sample()
	ends := map[int]int{} // of a line without its line feed: how many lines are whole
	for i, n := 0, 0; i < len(b); i++ {
		if b[i] == '\n' {
			n++
			ends[i] = n
		}
	}
	whole := 0
	for cut := range len(b) + 1 {
		p := parse(b[:cut])
		if n, ok := ends[cut]; ok { // only the line feed is missing
			whole = n
		}
		wantTorn := cut > 0 && b[cut-1] != '\n' && ends[cut] == 0
		if got := idsOf(p); !slices.Equal(got, want[:max(0, whole-1)]) || len(p.damaged) > 0 || (p.torn > 0) != wantTorn {
			t.Fatalf("cut off at byte %d of %d: events %v, want %d; torn %d, damaged %v", cut, len(b), got, whole-1, p.torn, p.damaged)
		}
		if !ours(b[:cut]) && cut > 0 {
			t.Fatalf("cut off at byte %d it is not recognized", cut)
		}
	}
}

// With any one bit flipped, one record is lost at most, the others are as they
// were, and it is said where.
func TestParse_EachBitFlipped(t *testing.T) {
	b, want := sample()
	original := map[string]bool{}
	for line := range bytes.Lines(b) {
		original[string(line)] = true
	}
	for i := range b {
		line := bytes.Count(b[:i], []byte("\n")) + 1
		for bit := range 8 {
			flipped := slices.Clone(b)
			flipped[i] ^= 1 << bit
			p := parse(flipped)
			lost := slices.DeleteFunc(slices.Clone(want), func(id uint64) bool { return slices.Contains(idsOf(p), id) })
			if !slices.IsSorted(idsOf(p)) || len(lost) > 1 || len(p.records)+len(lost) < len(want) {
				t.Fatalf("byte %d, bit %d: events %v", i, bit, idsOf(p))
			}
			for _, r := range p.records {
				if !original[string(encode(r))] {
					t.Fatalf("byte %d, bit %d: a record is not as it was: %+v", i, bit, r)
				}
			}
			if len(lost) == 1 && (len(p.damaged) != 1 || p.damaged[0].line != line) && p.torn == 0 {
				t.Fatalf("byte %d (line %d), bit %d: event %d is lost, damaged %v", i, line, bit, lost[0], p.damaged)
			}
			if !p.untidy && p.torn == 0 {
				t.Fatalf("byte %d, bit %d: the damage is not noticed", i, bit)
			}
			if !ours(flipped) {
				t.Fatalf("byte %d, bit %d: not recognized", i, bit)
			}
		}
	}
}

// Whatever is done to a file, it can be opened, again and again, and what is
// read the second time is what was read the first time.
func TestOpen_AnyDamage(t *testing.T) {
	b, _ := sample()
	path := filepath.Join(t.TempDir(), "history")
	rapid.Check(t, func(t *rapid.T) {
		damaged := slices.Clone(b)
		for range rapid.IntRange(1, 6).Draw(t, "faults") {
			at := rapid.IntRange(0, len(damaged)-1).Draw(t, "at")
			switch rapid.SampledFrom([]string{"flip", "zeros", "cut out", "repeat"}).Draw(t, "fault") {
			case "flip":
				damaged[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			case "zeros": // after a loss of power
				clear(damaged[at:min(len(damaged), at+rapid.IntRange(1, 600).Draw(t, "n"))])
			case "cut out":
				damaged = slices.Delete(damaged, at, min(len(damaged), at+rapid.IntRange(0, 600).Draw(t, "n")))
			case "repeat":
				damaged = slices.Insert(damaged, at, damaged[at:min(len(damaged), at+rapid.IntRange(0, 600).Draw(t, "n"))]...)
			}
			if len(damaged) == 0 {
				break
			}
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		f, p, err := openFile(path, MinSize)
		if err != nil {
			if ours(damaged) || len(damaged) == 0 {
				t.Fatal(err)
			}
			return
		}
		first := f.snapshot()
		_ = f.Close()
		f, again, err := openFile(path, MinSize)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if len(again.damaged) > 0 || again.torn > 0 || again.untidy {
			t.Fatalf("still damaged: %+v", again)
		}
		if diff := cmp.Diff(first, f.snapshot(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Fatalf("after %v (-first +second):\n%s", p.damaged, diff)
		}
	})
}

func TestOpen_SaysWhere(t *testing.T) {
	b, _ := sample()
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines[2][40] ^= 4
	path := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(path, append(bytes.Join(lines[:4], nil), `{"crc":"0`...), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s, past := Open(path, MinSize, slog.New(slog.NewTextHandler(&log, nil)), noon)
	defer s.file.Close()
	want := fmt.Sprintf("%s: what is damaged was skipped: line 3 (%d bytes from byte %d on); the last record was not written to its end (9 bytes of it) and is lost: "+
		"the exporter was killed, or the node lost its power", path, len(lines[2])-1, len(lines[0])+len(lines[1]))
	if got := s.Status(); got.Problem != want || got.Lost != 2 || got.WriteErrors != 0 || got.Bytes == 0 {
		t.Errorf("status %+v, want the problem %s", got, want)
	}
	if len(past.News) != 1 || past.News[0].Type != verdict.HistoryDamaged || past.News[0].Message != want || past.Whole {
		t.Errorf("past %+v", past)
	}
	if !strings.Contains(log.String(), "line 3 ") {
		t.Errorf("log %s", &log)
	}
}
