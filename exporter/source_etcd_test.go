package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Mistakes in the flags of etcd say which flag, and what was expected.
func TestEtcdFlags(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const tls = "--etcd.endpoints https://127.0.0.1:2379 "
	for _, tt := range []struct{ args, want string }{
		{"--etcd.endpoints 127.0.0.1:2379", "--etcd.endpoints has a value that is no URL of an etcd: expected one like https://127.0.0.1:2379"},
		{"--etcd.endpoints https://me:secret@127.0.0.1:2379", "expected one like https://127.0.0.1:2379 without a user"},
		{"--etcd.endpoints http://a:1 --etcd.endpoints https://b:1", "--etcd.endpoints has both http and https"},
		{tls + "--etcd.prefix /", `--etcd.prefix is "/": expected flannel's`},
		{tls + "--etcd.certfile " + empty, "--etcd.certfile and --etcd.keyfile go together"},
		{tls + "--etcd.certfile " + empty + " --etcd.keyfile " + empty, "--etcd.certfile, --etcd.keyfile: tls: failed to find any PEM data"},
		{tls + "--etcd.cafile " + empty, "has no certificate: expected PEM"},
		{"--etcd.endpoints http://127.0.0.1:2379 --etcd.cafile " + empty, "are for etcd over https"},
		{tls + "--etcd.username me", "--etcd.username and --etcd.password-file go together"},
		{tls + "--etcd.username me --etcd.password-file " + dir + "/none", "--etcd.password-file: open"},
		{tls + "--etcd.username me --etcd.password-file " + empty, ""},
		{"--etcd.endpoints http://a:1,http://b:1 --etcd.prefix x/y", ""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			app := newApp(nil, nil, func(c *cli.Context) error {
				source, err := newEtcdSource(c, config{}, "")
				switch {
				case tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("got %v, want %q", err, tt.want)
				case err != nil && strings.Contains(err.Error(), "secret"):
					t.Errorf("a secret is in %q", err)
				case err == nil && source.show.Command == "":
					t.Error("nothing shows the leases")
				}
				return nil
			})
			if err := app.RunContext(context.Background(), append([]string{program}, strings.Fields(tt.args)...)); err != nil {
				t.Error(err)
			}
		})
	}
}
