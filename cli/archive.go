package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"time"

	"routewatch/cli/internal/redact"
)

const (
	// maxPart bounds a file of a bundle and maxBundle all of them, in bytes before
	// they are compressed.
	maxPart   = 16 << 20
	maxBundle = 256 << 20
)

// archive writes files into a tar.gz, without the secrets in them. Nothing gets
// into it in another way than by add.
type archive struct {
	folder string // that has everything, so that unpacking makes no mess
	at     time.Time
	gzip   *gzip.Writer
	tar    *tar.Writer
	names  map[string]bool
	size   int // of all that is in it
	hidden int // secrets
}

func newArchive(w io.Writer, folder string, at time.Time) *archive {
	z := gzip.NewWriter(w)
	return &archive{folder: folder, at: at, gzip: z, tar: tar.NewWriter(z), names: map[string]bool{}}
}

// full reports whether no more than the last words should be added.
func (a *archive) full() bool { return a.size >= maxBundle }

// add adds a file; cut says that only its first maxPart bytes are in it.
func (a *archive) add(name string, content []byte) (cut bool, err error) {
	if a.names[name] {
		return false, fmt.Errorf("the bundle has %s already", name)
	}
	a.names[name] = true
	text, found := redact.Text(string(content))
	a.hidden += found
	if cut = len(text) > maxPart; cut {
		text = strings.ToValidUTF8(text[:maxPart], "")
	}
	a.size += len(text)
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: a.folder + "/" + name, Size: int64(len(text)), Mode: 0o644, ModTime: a.at, Format: tar.FormatPAX,
	}
	if err := a.tar.WriteHeader(header); err != nil {
		return cut, fmt.Errorf("write the bundle: %w; is the disk full?", err)
	}
	if _, err := io.WriteString(a.tar, text); err != nil {
		return cut, fmt.Errorf("write the bundle: %w; is the disk full?", err)
	}
	return cut, nil
}

func (a *archive) close() error {
	if err := a.tar.Close(); err != nil {
		return fmt.Errorf("write the bundle: %w; is the disk full?", err)
	}
	if err := a.gzip.Close(); err != nil {
		return fmt.Errorf("write the bundle: %w; is the disk full?", err)
	}
	return nil
}

// fileName makes a name from elsewhere one of a file: without a separator, and
// without a dot in front.
func fileName(name string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, name)
	safe = safe[:min(len(safe), 200)] // a file system takes 255
	if safe == "" || safe[0] == '.' {
		safe = "_" + safe
	}
	return safe
}
