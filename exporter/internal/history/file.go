package history

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"routewatch/exporter/internal/filelock"
)

// file is the history's file, open and locked. After an error it must be closed
// and opened anew, which finds out what of it is there.
type file struct {
	*os.File
	path string
	max  int64 // bytes
	size int64
	state
}

// openFile opens the file, or makes it, and reads it. Nobody else may write to
// it as long as it is open.
func openFile(path string, maxSize int64) (*file, parsed, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // or the link would be replaced by the file
	}
	f, err := filelock.Open(path)
	if err != nil {
		return nil, parsed{}, err
	}
	h := &file{File: f, path: path, max: maxSize, state: *newState()}
	_ = os.Remove(h.next()) // of a process that was killed while it made one
	p, err := h.read()
	if err == nil && (h.size == 0 || p.untidy || h.size > h.full()) {
		err = h.rewrite()
	}
	if err != nil {
		_ = h.Close()
		return nil, parsed{}, err
	}
	return h, p, nil
}

// read reads the whole file and cuts off a record that was not written to its end.
func (h *file) read() (parsed, error) {
	info, err := h.Stat()
	if err != nil {
		return parsed{}, err
	}
	if limit := max(4*h.max, 64<<20); info.Size() > limit {
		return parsed{}, fmt.Errorf("%s has %d bytes, which no history of routewatch has: move it away", h.path, info.Size())
	}
	b, err := io.ReadAll(io.NewSectionReader(h, 0, info.Size()))
	if err != nil {
		return parsed{}, err
	}
	p := parse(b)
	if len(p.records) == 0 && len(b) > 0 && !ours(b) {
		return p, fmt.Errorf("%s is not a history of routewatch: move it away, or give another path", h.path)
	}
	for _, r := range p.records {
		if r.Header != nil && r.Header.Version != version {
			return p, fmt.Errorf("%s has the format %d, of another version of routewatch: move it away, or give another path",
				h.path, r.Header.Version)
		}
		h.apply(r)
	}
	h.forget()
	h.size = int64(len(b) - p.torn)
	if p.torn > 0 {
		return p, h.Truncate(h.size)
	}
	return p, nil
}

// full is how large the file may become before it is written anew, and part how
// large it is then: both together are no more than the bound.
func (h *file) full() int64 { return h.max / 3 * 2 }
func (h *file) part() int64 { return h.max / 3 }

func (h *file) next() string { return h.path + ".new" }

// append writes lines whose records were applied, and waits until the disk has them.
func (h *file) append(lines []byte) error {
	if h.size+int64(len(lines)) > h.full() {
		return h.rewrite() // it has them already
	}
	if _, err := h.WriteAt(lines, h.size); err != nil {
		_ = h.Truncate(h.size) // what did not fit; if that fails the next one to read does it
		return err
	}
	if err := unix.Fdatasync(int(h.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", h.path, err)
	}
	h.size += int64(len(lines))
	return nil
}

// rewrite makes a new file with what is open and the newest events, and puts it
// in the place of the old one. Whenever it is interrupted, one of the two is there.
func (h *file) rewrite() error {
	lines := h.lines(h.part())
	name := h.next()
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = filelock.Lock(f); err == nil {
		_, err = f.Write(lines)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(name, h.path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(name))
	}
	_ = h.Close()
	h.File, h.size = f, int64(len(lines))
	return syncDir(filepath.Dir(h.path))
}

// syncDir makes the disk have a new name. Some file systems cannot, and need not.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}
