package render

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestAge(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		d    time.Duration
		want string
	}{
		// From k8s.io/apimachinery/pkg/util/duration/duration_test.go.
		{time.Second, "1s"},
		{70 * time.Second, "70s"},
		{190 * time.Second, "3m10s"},
		{70 * time.Minute, "70m"},
		{47 * time.Hour, "47h"},
		{49 * time.Hour, "2d1h"},
		{8*day + 2*time.Hour, "8d"},
		{367 * day, "367d"},
		{2*365*day + 25*day, "2y25d"},
		{8*365*day + 2*day, "8y"},
		{3*time.Minute + 12*time.Second, "3m12s"},
		{2 * time.Minute, "2m"},
		{3*time.Hour + 5*time.Minute, "3h5m"},
		{48 * time.Hour, "2d"},
		{0, "0s"},
		{-time.Second, "0s"},
		{-time.Minute, "<invalid>"},
	}
	for _, tt := range tests {
		if got := Age(tt.d); got != tt.want {
			t.Errorf("Age(%v) = %s, want %s", tt.d, got, tt.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 123456: "123,456", 1234567: "1,234,567", -123: "-123", -1234: "-1,234"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"node-1":                "node-1",
		"a\nb\tc\r":             "a b c ",
		"\x1b[2J":               "\uFFFD[2J",
		"\u009b2J":              "\uFFFD2J",
		"\x7f\x00":              "\uFFFD\uFFFD",
		"a\u202eb":              "a\uFFFDb",
		"bad \xff byte, größer": "bad \uFFFD byte, größer",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	tests := []struct {
		text          string
		indent, width int
		want          []string
	}{
		{"one two three", 0, 0, []string{"one two three"}},
		{"one two three", 0, 13, []string{"one two three"}},
		{"one two three", 0, 12, []string{"one two", "three"}},
		{"one two three", 4, 11, []string{"one two", "three"}},
		{"one verylongword two", 0, 5, []string{"one", "verylongword", "two"}},
		{"", 0, 10, []string{""}},
		{"           ", 0, 10, []string{""}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, wrap(tt.text, tt.indent, tt.width)); diff != "" {
			t.Errorf("wrap(%q, %d, %d) (-want +got)\n%s", tt.text, tt.indent, tt.width, diff)
		}
	}
}

func TestTable(t *testing.T) {
	newTable := func() *table {
		tb := &table{columns: []column{{title: "PEER", least: 6}, {title: "LEASE"}, {title: "CAUSE", spare: true}, {title: "NOW", least: 8}}}
		tb.add(plain("node-with-a-long-name"), plain("10.244.2.0/24"), plain("deleted"), plain("via 192.168.1.1 dev ens33"))
		tb.add(plain("node-3"), plain("10.244.3.0/24"), plain("-"), plain("-"))
		return tb
	}
	tests := []struct {
		width int
		want  string
	}{
		{0, `
PEER                   LEASE          CAUSE    NOW
node-with-a-long-name  10.244.2.0/24  deleted  via 192.168.1.1 dev ens33
node-3                 10.244.3.0/24  -        -`},
		{65, `
PEER                   LEASE          NOW
node-with-a-long-name  10.244.2.0/24  via 192.168.1.1 dev ens33
node-3                 10.244.3.0/24  -`},
		{50, `
PEER              LEASE          NOW
node-wit…ng-name  10.244.2.0/24  via 192.168.1.1
                                 dev ens33
node-3            10.244.3.0/24  -`},
		{10, `
PEER    LEASE          NOW
nod…me  10.244.2.0/24  via
                       192.168.1.1
                       dev
                       ens33
node-3  10.244.3.0/24  -`},
	}
	for _, tt := range tests {
		got := "\n" + strings.Join(newTable().lines(tt.width), "\n")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("width %d (-want +got)\n%s", tt.width, diff)
		}
	}
}

// A table is never wider than the terminal, as far as its columns may shrink,
// and no cell that must stay whole is cut.
func TestTable_Fits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z-]{1,30}`)
		tb := &table{columns: []column{{title: "A", least: 5}, {title: "B"}, {title: "C", spare: true}, {title: "D", least: 5}}}
		for range rapid.IntRange(1, 5).Draw(t, "rows") {
			prose := strings.Join(rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,5}`), 1, 9).Draw(t, "prose"), " ")
			tb.add(plain(word.Draw(t, "a")), plain(word.Draw(t, "b")), plain(word.Draw(t, "c")), plain(prose))
		}
		width := rapid.IntRange(5+2+30+2+5, 120).Draw(t, "width")
		text := strings.Join(tb.lines(width), "\n")
		for line := range strings.SplitSeq(text, "\n") {
			if n := utf8.RuneCountInString(line); n > width {
				t.Fatalf("%d columns in a terminal of %d: %q", n, width, line)
			}
		}
		for _, row := range tb.rows {
			if !strings.Contains(text, row[1].text) {
				t.Fatalf("%q is not whole in\n%s", row[1].text, text)
			}
			for part := range strings.FieldsSeq(row[3].text) {
				if !strings.Contains(text, part) {
					t.Fatalf("%q is lost in\n%s", part, text)
				}
			}
		}
	})
}

func TestWidth(t *testing.T) {
	s := Style{Color: true}
	for line, want := range map[string]int{"": 0, "abc": 3, s.bad("ab") + "c" + s.good("d"): 4, "größer…": 7} {
		if got := Width(line); got != want {
			t.Errorf("Width(%q) = %d, want %d", line, got, want)
		}
	}
}
