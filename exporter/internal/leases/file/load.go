package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"routewatch/shared/lease"
)

// signature is what tells one content of a path from another without reading
// it. The zero value means that there is nothing to read.
type signature struct {
	device, inode uint64
	size          int64
	mode          fs.FileMode
	mtime, ctime  syscall.Timespec
}

func signatureOf(path string) signature {
	info, err := os.Stat(path)
	if err != nil {
		return signature{}
	}
	return newSignature(info)
}

func newSignature(info fs.FileInfo) signature {
	s := signature{size: info.Size(), mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode, s.mtime, s.ctime = st.Dev, st.Ino, st.Mtim, st.Ctim
	}
	return s
}

// emptied reports whether there is a file without content.
func (s signature) emptied() bool { return s != (signature{}) && s.mode.IsRegular() && s.size == 0 }

// content is what was in the file.
type content struct {
	set lease.Set
	// signature is that of the file when it was opened; zero if it was not
	// read to its end.
	signature signature
}

// load reads the file. Its errors name the file, the line where there is one,
// the reason, and what to do.
func load(cfg Config) (content, error) {
	// Opening anything else than a regular file could block or do worse.
	info, err := os.Stat(cfg.Path)
	if err != nil {
		return content{}, explain(cfg.Path, err)
	}
	if err := acceptable(info); err != nil {
		return content{}, explain(cfg.Path, err)
	}
	f, err := os.OpenFile(cfg.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return content{}, explain(cfg.Path, err)
	}
	c, err := loadOpen(f, cfg.Options)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return c, explain(cfg.Path, err)
}

func loadOpen(f *os.File, opts lease.Options) (content, error) {
	info, err := f.Stat()
	if err != nil {
		return content{}, err
	}
	if err := acceptable(info); err != nil {
		return content{}, err
	}
	c := content{signature: newSignature(info)}
	c.set, err = lease.Read(f, opts)
	c.set.Written = written(info)
	var notRead *fs.PathError
	if errors.As(err, &notRead) {
		return content{}, err
	}
	return c, err
}

// written returns when the file was last written; zero if that is no time that
// JSON knows, which would make the whole status one that cannot be printed.
func written(info fs.FileInfo) time.Time {
	t := info.ModTime().UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// acceptable says why a file is not to be read.
func acceptable(info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return errors.New("is a directory: give the path of the file in it")
	case !mode.IsRegular():
		return fmt.Errorf("is a pipe, socket or device (%s): give a regular file", mode)
	case info.Size() > lease.MaxJSON:
		return fmt.Errorf("is larger than %d MiB: %s and nothing else", lease.MaxJSON>>20, lease.Expected)
	}
	return nil
}

// explain names the file and, where the error does not, what to do.
func explain(path string, err error) error {
	var pathErr *fs.PathError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &pathErr):
		return fmt.Errorf("lease file %s: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("lease file %s: %w: let uid %d read it, e.g. with `chmod a+r %[1]s`", path, pathErr.Err, os.Geteuid())
	default:
		return fmt.Errorf("lease file %s: %w: write it with `kubectl get nodes -o json > %[1]s`", path, pathErr.Err)
	}
}
