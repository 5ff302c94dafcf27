//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdUnpack unpacks a bundle and prints what it has, in order: unpack FILE. Each
// JSON document is checked to be one still.
func cmdUnpack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unpack FILE")
	}
	z, err := gzip.NewReader(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		ts.Check(err)
		content, err := io.ReadAll(r)
		ts.Check(err)
		if strings.HasSuffix(h.Name, ".json") && !json.Valid(content) {
			ts.Fatalf("%s is no JSON:\n%s", h.Name, content)
		}
		file := ts.MkAbs(h.Name)
		ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
		ts.Check(os.WriteFile(file, content, 0o600))
		_, err = fmt.Fprintf(ts.Stdout(), "%v %d/%d %s %s\n", h.FileInfo().Mode(), h.Uid, h.Gid, h.ModTime.UTC().Format("15:04:05"), h.Name)
		ts.Check(err)
	}
}

func TestArchive_Bounded(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out, "b", now)
	cut, err := a.add("large.txt", bytes.Repeat([]byte("token=hunter2 x\n"), maxPart/8))
	if err != nil || !cut || a.size != maxPart {
		t.Errorf("cut is %v, the size %d: %v", cut, a.size, err)
	}
	if cut, err = a.add("small.txt", []byte("x")); err != nil || cut || a.full() {
		t.Errorf("a small file: cut is %v, full %v: %v", cut, a.full(), err)
	}
	if _, err = a.add("small.txt", []byte("x")); err == nil {
		t.Error("a name that is there already is no error")
	}
	a.size = maxBundle
	if !a.full() {
		t.Error("it is not full")
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"node-1.lab": "node-1.lab", "../../etc": "_.._.._etc", "": "_", "http://a:1/": "http___a_1_", "a\x00b": "a_b",
		strings.Repeat("a", 300): strings.Repeat("a", 200),
	} {
		if got := fileName(name); got != want {
			t.Errorf("fileName(%q) = %q, want %q", name, got, want)
		}
	}
}
