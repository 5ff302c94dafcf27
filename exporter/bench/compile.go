//go:build linux

package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed peers/recv.c
var recvSource []byte

// temporary is the folder for programs that are built here.
func temporary() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("routewatch-bench-%d", os.Getuid()))
	return dir, os.MkdirAll(dir, 0o700)
}

// compile builds the C peer.
func compile() (program string, err error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", errors.New("there is no C compiler (cc)")
	}
	dir, err := temporary()
	if err != nil {
		return "", err
	}
	source, program := filepath.Join(dir, "recv.c"), filepath.Join(dir, "recv")
	if err := os.WriteFile(source, recvSource, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command(cc, "-O2", "-o", program, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", cc, err, out)
	}
	return program, nil
}
