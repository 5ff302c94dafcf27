//go:build linux

package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/version"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the program prints into the scripts")

// now is the time at which every script runs.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	program := func() {
		version.Version = "v1.4.0"
		os.Exit(run(os.Args, system{
			stdout: os.Stdout, stderr: os.Stderr,
			now:  func() time.Time { return now },
			poll: 10 * time.Millisecond,
		}))
	}
	testscript.Main(m, map[string]func(){"routewatch": program, completerName: program})
}

// TestScripts runs the program as a person does. Scripts find the documents of
// testdata/documents in documents/, the answers of a cluster in cluster/, and
// the recording of shared/flight.
func TestScripts(t *testing.T) {
	testdata, err := filepath.Abs("testdata")
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
			for _, folder := range []string{"documents", "cluster"} {
				if err := os.CopyFS(filepath.Join(env.WorkDir, folder), os.DirFS(filepath.Join(testdata, folder))); err != nil {
					return err
				}
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "flap.recording"), recording, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": cmdCode, "serve": cmdServe, "cluster": cmdCluster, "polls": cmdPolls, "screen": cmdScreen, "unpack": cmdUnpack,
		},
	})
}
