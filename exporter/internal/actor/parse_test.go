package actor

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for text, want := range map[string]stat{
		"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 25 0 0":  {"kthreadd", 2129984, 250 * time.Millisecond},
		"7 (a) b) (c\n) R 1 2 3 4 5 4194304 7 8 9 0 1 2 3 4 5 6 7 8 100 0 0": {"a) b) (c\n", 4194304, time.Second},
		"7 () Z 1 2 3 4 5 0 7 8 9 0 1 2 3 4 5 6 7 8 0 0 0":                   {"", 0, 0},
	} {
		if got, err := parseStat([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "7 (a", "7 )a(", "7 (a) R 1 2", "7 (a) R 1 2 3 4 5 x 7 8 9 0 1 2 3 4 5 6 7 8 9 0"} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
}

func TestParseStatus(t *testing.T) {
	s, err := parseStatus([]byte("Name:\tx\nNSpid:\t4711\t12\t1\nCapEff:\t0000000000001000\n"))
	if err != nil || !s.nested() || s.number() != 1 || !s.netAdmin() {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"", "NSpid:\n", "NSpid:\tx\n", "NSpid:\t1\nCapEff:\tz\n"} {
		if s, err := parseStatus([]byte(text)); err == nil {
			t.Errorf("%q: %+v, want an error", text, s)
		}
	}
}

func TestInodeOf(t *testing.T) {
	table := []byte(`sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
00000000803c3018 0   0          00000000 0        0        0     2        0        4
00000000cc1d601e 4   7          00000000 0        0        0     2        0        1588
000000001ecdc696 0   7          00000000 0        0        0     2        0        1590
000000001ecdc696 0   2206573896 000405d1 0        0        0     2        0        1600
short 0 9
`)
	for port, want := range map[uint32]uint64{7: 1590, 2206573896: 1600, 8: 0, 9: 0} {
		if got := inodeOf(table, port); got != want {
			t.Errorf("port %d has inode %d, want %d", port, got, want)
		}
	}
}

// What /proc says of this very process can be read.
func TestParse_Own(t *testing.T) {
	p, err := openProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	buf := make([]byte, 8192)
	if s, err := p.stat(buf); err != nil || s.comm == "" || s.kernel() || s.start == 0 {
		t.Errorf("stat %+v, %v", s, err)
	}
	if s, err := p.status(buf); err != nil || s.number() <= 0 {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestBudget(t *testing.T) {
	now := time.Unix(1000, 0)
	b := budget{left: maxBurst, at: now}
	spent := time.Duration(0)
	for range 10_000 { // a look of 3 ms is wanted each ms, for 10 s
		if now = now.Add(time.Millisecond); b.allows(now) {
			b.spend(3 * time.Millisecond)
			spent += 3 * time.Millisecond
		}
	}
	if most := maxBurst + 10*time.Second/share + 3*time.Millisecond; spent > most || spent < most*9/10 {
		t.Errorf("%s were spent in 10 s, want about %s", spent, most)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("7 (a) b) R 1 2 3 4 5 4194304 7 8 9 0 1 2 3 4 5 6 7 8 100 0 0"), uint32(1))
	f.Add([]byte("NSpid:\t4711\t1\nCapEff:\t0000000000001000\n"), uint32(1))
	f.Add([]byte("000000001ecdc696 0   7          00000000 0        0        0     2        0        1590\n"), uint32(7))
	f.Fuzz(func(t *testing.T, b []byte, port uint32) {
		if s, err := parseStat(b); err == nil && s.start < 0 {
			t.Errorf("it started %s after boot", s.start)
		}
		if s, err := parseStatus(b); err == nil {
			s.number()
		}
		inodeOf(b, port)
	})
}
