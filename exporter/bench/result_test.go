//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ratio is a line with a peer: three rounds with these ratios.
func ratio(low, value, high float64) Line {
	return Line{Scenario: "storm", Figure: "time", Unit: "ms", Peer: "slow", Limit: 0.25,
		Own: []float64{1}, Its: []float64{4}, Low: low, Value: value, High: high}
}

// absolute is a line without one.
func absolute(value, limit float64) Line {
	return Line{Scenario: "idle", Figure: "CPU", Unit: "%", Limit: limit, Own: []float64{value}, Low: value, Value: value, High: value}
}

func TestRegressions(t *testing.T) {
	unasked := ratio(0.1, 0.1, 0.1)
	unasked.Limit = 0
	unaskedWorse := unasked
	unaskedWorse.Value = 9
	for _, c := range []struct {
		name        string
		before, now []Line
		part        bool   // not all scenarios ran
		want        string // "" if nothing is worse
	}{
		{"the same", []Line{ratio(0.1, 0.11, 0.12)}, []Line{ratio(0.1, 0.11, 0.12)}, false, ""},
		{"better", []Line{ratio(0.2, 0.21, 0.22)}, []Line{ratio(0.1, 0.11, 0.12)}, false, ""},
		{"worse by less than the rounds of this run differ", []Line{ratio(0.1, 0.1, 0.1)}, []Line{ratio(0.1, 0.14, 0.16)}, false, ""},
		{"worse by less than the rounds before differed", []Line{ratio(0.1, 0.1, 0.16)}, []Line{ratio(0.14, 0.14, 0.14)}, false, ""},
		{"worse", []Line{ratio(0.1, 0.11, 0.12)}, []Line{ratio(0.14, 0.15, 0.16)}, false,
			"worse: storm, time: 0.150 x slow, and was 0.110 x; the rounds differ by 0.0200"},
		{"worse although the bar holds for neither", []Line{ratio(0.5, 0.5, 0.5)}, []Line{ratio(0.6, 0.6, 0.6)}, false,
			"worse: storm, time: 0.600 x slow, and was 0.500 x; the rounds differ by 0"},
		{"worse where nothing is asked", []Line{unasked}, []Line{unaskedWorse}, false, ""},
		{"a figure, more than before, below its bar", []Line{absolute(0.01, 0.1)}, []Line{absolute(0.1, 0.1)}, false, ""},
		{"a figure that was above its bar", []Line{absolute(0.2, 0.1)}, []Line{absolute(0.9, 0.1)}, false, ""},
		{"a figure, now above its bar", []Line{absolute(0.08, 0.1)}, []Line{absolute(0.12, 0.1)}, false,
			"worse: idle, CPU: 0.120 %, and was 0.0800 %; the bar is 0.100 %"},
		{"a figure that must be 0", []Line{absolute(0, 0)}, []Line{absolute(1, 0)}, false,
			"worse: idle, CPU: 1.00 %, and was 0 %; the bar is 0 %"},
		{"a figure without a bar", []Line{absolute(1, noBar)}, []Line{absolute(9, noBar)}, false, ""},
		{"a new line", nil, []Line{ratio(9, 9, 9), absolute(1, 0.1)}, false, ""},
		{"a line is missing", []Line{ratio(0.1, 0.11, 0.12), absolute(0, 0)}, []Line{absolute(0, 0)}, false,
			"worse: storm, time slow: not measured, and was"},
		{"a line is missing that nothing is asked of", []Line{unasked, absolute(1, noBar)}, nil, false, ""},
		{"a line is missing, as only a part ran", []Line{ratio(0.1, 0.11, 0.12), absolute(0, 0)}, []Line{absolute(0, 0)}, true, ""},
		{"two are worse", []Line{ratio(0.1, 0.1, 0.1), absolute(0, 0)}, []Line{ratio(0.2, 0.2, 0.2), absolute(1, 0)}, false,
			"worse: storm, time: 0.200 x slow, and was 0.100 x; the rounds differ by 0\nworse: idle, CPU: 1.00 %, and was 0 %; the bar is 0 %"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := (Result{Lines: c.before}).regressions(Result{Lines: c.now}, !c.part); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result.json")
	want := Result{Machine: "a machine", Lines: []Line{ratio(0.1, 0.11, 0.12), absolute(0, 0), absolute(1, noBar)}}
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readResult(path)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if got, err := readResult(""); err != nil || got.Lines != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
	if _, err := readResult(path + ".no"); err == nil {
		t.Error("a file that is not there is no error")
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readResult(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v does not name the file", err)
	}
}

func TestTable(t *testing.T) {
	unasked := ratio(1, 1, 1)
	unasked.Limit = 0
	r := Result{Machine: "Measured on a machine.", Lines: []Line{ratio(0.1, 0.25, 0.3), unasked, absolute(0.2, 0.1), absolute(3, noBar)}}
	want := `| what | figure | routewatch | beside | it has | ratio (spread) | bar | holds |
|---|---|---|---|---|---|---|---|
| storm | time | 1.00 ms | slow | 4.00 ms | 0.250 x (0.100 to 0.300) | 0.250 x | yes |
| idle | CPU | 0.200 % |  |  | (0.200 to 0.200) | 0.100 % | no |

Measured on a machine.
`
	if diff := cmp.Diff(want, r.table()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWriteTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	r := Result{Machine: "Measured on a machine.", Lines: []Line{absolute(0.2, 0.1)}}
	for _, c := range []struct{ before, want string }{
		{"# a\n\n<!-- bench -->\nold\n<!-- /bench -->\n\n## b\n", "# a\n\n<!-- bench -->\n" + r.table() + "<!-- /bench -->\n\n## b\n"},
		{"<!-- bench --><!-- /bench -->", "<!-- bench -->\n" + r.table() + "<!-- /bench -->"},
		{"no mark\n", ""},
		{"<!-- bench --> without an end\n", ""},
		{"<!-- /bench --> before <!-- bench -->\n", ""},
	} {
		if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
			t.Fatal(err)
		}
		err := r.writeTable(path)
		if (err != nil) != (c.want == "") {
			t.Errorf("%q: error %v", c.before, err)
		}
		want := c.want
		if want == "" {
			want = c.before // it is left as it was
		}
		got, err := os.ReadFile(path)
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got)\n%s", c.before, err, diff)
		}
	}
}

func TestMedianAndPercentile(t *testing.T) {
	for _, c := range []struct {
		values           []float64
		median, p50, p99 float64
	}{
		{[]float64{7}, 7, 7, 7},
		{[]float64{3, 1, 2}, 2, 2, 3},
		{[]float64{4, 1, 3, 2}, 2.5, 3, 4},
		{[]float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 5.5, 6, 10},
	} {
		got := []float64{medianOf(c.values), percentile(c.values, 0.5), percentile(c.values, 0.99)}
		if diff := cmp.Diff([]float64{c.median, c.p50, c.p99}, got); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", c.values, diff)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0005: "0.000500", 0.0000012: "0.000001", 0.0123: "0.0123", 0.25: "0.250", 1: "1.00", 1.05: "1.05",
		28.74: "28.7", 99.4: "99.4", 100: "100", 123456.7: "123457", -2.5: "-2.50",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	const few, all = "# HELP a b\na{l=\"x y\"} 1\nb 50\n", "# HELP a b\na{l=\"x y\"} 17\nb 5.000e+03\n"
	if names([]byte(few)) != names([]byte(all)) {
		t.Errorf("%d and %d", names([]byte(few)), names([]byte(all)))
	}
	if more := names([]byte(few + "c 1\n")); more != names([]byte(few))+1 {
		t.Errorf("one series more: %d bytes, after %d", more, names([]byte(few)))
	}
}
