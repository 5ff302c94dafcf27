//go:build linux

package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the program prints into the scripts")

// now is the time at which every script runs.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"routewatch": func() {
			os.Exit(run(os.Args, system{
				stdout: os.Stdout, stderr: os.Stderr,
				now:  func() time.Time { return now },
				poll: 10 * time.Millisecond,
			}))
		},
	})
}

// TestScripts runs the program as a person does. Scripts find the documents of
// testdata/documents in documents/, and the recording of shared/flight.
func TestScripts(t *testing.T) {
	documents, err := filepath.Abs("testdata/documents")
	if err != nil {
		t.Fatal(err)
	}
	recording, err := os.ReadFile("../shared/flight/testdata/flap.recording")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Values[exporterKey{}] = &slot{}
			if err := os.WriteFile(filepath.Join(env.WorkDir, "flap.recording"), recording, 0o600); err != nil {
				return err
			}
			return os.CopyFS(filepath.Join(env.WorkDir, "documents"), os.DirFS(documents))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": cmdCode, "serve": cmdServe, "polls": cmdPolls, "screen": cmdScreen,
		},
	})
}
