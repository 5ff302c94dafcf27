// Package filelock opens files that one process alone may write to.
package filelock

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens a regular file, or makes it with mode 0600, and locks it. The file
// is the one that has this name, also where another process has just replaced it.
func Open(path string) (*os.File, error) {
	for range 3 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		if err = Lock(f); err == nil {
			at, errPath := os.Stat(path)
			here, errFile := f.Stat()
			switch {
			case errors.Join(errPath, errFile) != nil:
				err = errors.Join(errPath, errFile)
			case !here.Mode().IsRegular():
				err = fmt.Errorf("%s is not a regular file", path)
			case os.SameFile(at, here):
				return f, nil
			default: // another process had it open and has written it anew
				_ = f.Close()
				continue
			}
		}
		_ = f.Close()
		return nil, err
	}
	return nil, fmt.Errorf("%s is being written anew by another process again and again", path)
}

// Lock locks a file until it is closed. It does not wait: a file that another
// process has locked is an error.
func Lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("%s is in use by another process", f.Name())
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS): // some file systems have no locks
		return nil
	}
	return err
}
