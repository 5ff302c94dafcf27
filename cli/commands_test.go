//go:build linux

package main

import (
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdCode runs a program and checks its exit code: code 1 routewatch status.
// Its output is that of the script, for stdout, stderr and cmp.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
}

// exporter is a stand-in for one: it answers each request with the next of its
// answers, and repeats the last.
type exporter struct {
	status      int
	contentType string
	date        bool
	answers     [][]byte // nil: the connection is lost

	mu       sync.Mutex
	requests int
	asked    chan struct{} // gets one value for each request
}

func (e *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	answer := e.answers[min(e.requests, len(e.answers)-1)]
	e.requests++
	e.mu.Unlock()
	e.asked <- struct{}{}
	switch {
	case answer == nil:
		panic(http.ErrAbortHandler)
	case string(answer) == "hang":
		<-r.Context().Done()
		return
	case !strings.HasPrefix(r.URL.Path, "/api/v1/"):
		http.NotFound(w, r)
		return
	}
	w.Header()["Date"] = nil
	if e.date {
		w.Header().Set("Date", now.Format(http.TimeFormat))
	}
	w.Header().Set("Content-Type", e.contentType)
	w.WriteHeader(e.status)
	_, _ = w.Write(answer) // the program may have gone
}

// exporterKey is where a script keeps its slot.
type exporterKey struct{}

// slot holds the exporter of the last serve.
type slot struct{ exporter *exporter }

func currentExporter(ts *testscript.TestScript) *exporter {
	e := ts.Value(exporterKey{}).(*slot).exporter
	if e == nil {
		ts.Fatalf("no exporter: serve one first")
	}
	return e
}

// cmdServe starts an exporter on loopback and sets $URL and
// $ROUTEWATCH_EXPORTER: serve [flags] FILE... A FILE "lost" loses the
// connection, "hang" never answers.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(ts.Stderr())
	e := &exporter{asked: make(chan struct{}, 10_000)}
	flags.IntVar(&e.status, "status", http.StatusOK, "")
	flags.StringVar(&e.contentType, "type", "application/json", "")
	flags.BoolVar(&e.date, "date", true, "")
	ts.Check(flags.Parse(args))
	if neg || flags.NArg() == 0 {
		ts.Fatalf("usage: serve [-status N] [-type TYPE] [-date=false] FILE...")
	}
	for _, file := range flags.Args() {
		switch file {
		case "lost":
			e.answers = append(e.answers, nil)
		case "hang":
			e.answers = append(e.answers, []byte(file))
		default:
			e.answers = append(e.answers, []byte(ts.ReadFile(file)))
		}
	}
	server := httptest.NewServer(e)
	ts.Defer(func() {
		server.CloseClientConnections() // a hanging answer would hold Close up
		server.Close()
	})
	ts.Setenv("URL", server.URL)
	ts.Setenv("ROUTEWATCH_EXPORTER", server.URL)
	ts.Value(exporterKey{}).(*slot).exporter = e
}

// cmdPolls waits until the exporter was asked N times more: polls N.
func cmdPolls(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: polls N")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for i := range n {
		select {
		case <-currentExporter(ts).asked:
		case <-time.After(10 * time.Second):
			ts.Fatalf("the exporter was asked %d times, expected %d", i, n)
		}
	}
}

// eraseBelowReadable ends a frame.
const eraseBelowReadable = "ESC[J"

// cmdScreen runs a program on a terminal and prints what it wrote there, with
// its escape sequences made readable, equal frames once: screen [-polls N] COLUMNS ROWS CODE
// program args... With polls, Ctrl-C is typed when the exporter was asked so often.
func cmdScreen(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("screen", flag.ContinueOnError)
	polls := flags.Int("polls", 0, "")
	ts.Check(flags.Parse(args))
	if args = flags.Args(); neg || len(args) < 4 {
		ts.Fatalf("usage: screen [-polls N] COLUMNS ROWS CODE program args...")
	}
	var numbers [3]int
	for i := range numbers {
		var err error
		numbers[i], err = strconv.Atoi(args[i])
		ts.Check(err)
	}
	// The PATH of this process has the program as well.
	cmd := exec.Command(args[3], args[4:]...)
	cmd.Env = os.Environ()
	for _, name := range []string{"ROUTEWATCH_EXPORTER", "TERM", "NO_COLOR", "CLICOLOR_FORCE"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	t, err := startOnTerminal(cmd, numbers[0], numbers[1])
	ts.Check(err)
	ts.Defer(func() { _ = cmd.Process.Kill() }) // has ended already, unless the script failed
	if *polls > 0 {
		cmdPolls(ts, false, []string{strconv.Itoa(*polls)})
		ts.Check(t.interrupt())
	}
	output, code, err := t.wait()
	ts.Check(err)
	if code != numbers[2] {
		ts.Fatalf("exit code %d, expected %d; output:\n%s", code, numbers[2], output)
	}
	output = strings.NewReplacer("\r\n", "\n", "\x1b", "ESC", "^C", "", ts.Getenv("URL"), "$URL").Replace(output)
	frames := strings.SplitAfter(output, eraseBelowReadable)
	_, err = io.WriteString(ts.Stdout(), strings.Join(slices.Compact(frames), "\n"))
	ts.Check(err)
}
