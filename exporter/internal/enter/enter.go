// Package enter runs code in another network namespace, while the process stays
// in its own.
package enter

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Open opens a network namespace by path; nil, for "", stands for the process's own.
func Open(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return f, nil
}

// Do runs f in the namespace, nil being the caller's: on a thread that enters it
// and is thrown away afterwards. Entering the old one again is what a process in
// a user namespace of its own is not allowed to do: the host's network namespace
// belongs to the host's user namespace.
func Do(netns *os.File, f func() error) (err error) {
	if netns == nil {
		return f()
	}
	onThrowawayThread(func() {
		if err = unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter network namespace %s (needs CAP_SYS_ADMIN in the user namespace that owns it): %w", netns.Name(), err)
			return
		}
		err = f()
	})
	return err
}

// onThrowawayThread runs f on a locked OS thread that ends with it. It must not
// be the process's first thread: that one never ends, and /proc/self would show
// the other namespace from then on.
func onThrowawayThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked after f: the runtime ends the thread with this goroutine
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		onThrowawayThread(f) // on another thread, since this goroutine holds the first one
		runtime.UnlockOSThread()
	}()
	<-done
}
