package recorder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"routewatch/exporter/internal/filelock"
	"routewatch/shared/flight"
)

// errFull: what was to be written does not fit, and nothing of it was written.
var errFull = errors.New("the recording is full")

// file is the file of a recording, open and locked. After an error other than
// errFull it must be closed.
type file struct {
	*os.File
	path string
	max  int64 // bytes
	size int64
}

// openFile opens a recording in order to add to it, or makes it. It never adds
// to, and never moves, what is no recording.
func openFile(path string, maxSize int64) (*file, error) {
	f, err := filelock.Open(path)
	if err != nil {
		return nil, err
	}
	h := &file{File: f, path: path, max: maxSize}
	info, err := f.Stat()
	if err == nil {
		h.size = info.Size()
		err = ours(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return h, nil
}

// ours returns an error for a file that is neither empty nor the beginning of a
// recording of this format or an older one.
func ours(f *os.File) error {
	start := fmt.Sprintf("%s%d\n", flight.Magic, flight.Format)
	b := make([]byte, len(start))
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !strings.HasPrefix(start, string(b[:n])) {
		return fmt.Errorf("%s is not a recording of this version of routewatch: move it away, or give another path", f.Name())
	}
	return nil
}

// Write appends all of b or nothing.
func (h *file) Write(b []byte) (int, error) {
	if h.size+int64(len(b)) > h.max {
		return 0, errFull
	}
	n, err := h.WriteAt(b, h.size)
	if err != nil {
		_ = h.Truncate(h.size) // what did not fit; if that fails the replay skips it
		return n, err
	}
	h.size += int64(n)
	return n, nil
}

func (h *file) predecessor() string { return h.path + ".1" }

// rotate makes the file the predecessor, in the place of the one before, and
// goes on with an empty one.
func (h *file) rotate() error {
	if h.size == 0 {
		return errFull // an empty one is no larger
	}
	old, err := os.Open(h.predecessor())
	switch {
	case err == nil:
		err = errors.Join(ours(old), old.Close())
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return err
	}
	if err := os.Rename(h.path, h.predecessor()); err != nil {
		return err
	}
	next, err := filelock.Open(h.path)
	if err != nil {
		return err
	}
	_ = h.Close()
	h.File, h.size = next, 0
	return nil
}
