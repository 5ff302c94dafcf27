package kernel

import (
	"context"
	"fmt"
	"time"
)

// readPatience is how long a read may take before it is said that the kernel
// does not answer. Reading takes milliseconds, even of a million routes only
// about a second; but whoever removes many devices or namespaces holds the RTNL
// lock for a second or two, and that is no trouble yet.
const readPatience = 5 * time.Second

// slowError says that a read is not done.
type slowError struct{ after time.Duration }

func (e slowError) Error() string {
	return fmt.Sprintf("not done after %s: usually another process holds the kernel's network lock (RTNL); "+
		"as root, `grep -e rtnl -e cleanup_net /proc/[0-9]*/stack` shows who holds it or waits for it", e.after)
}

// await runs read on a goroutine of its own and returns what it yields. The
// kernel takes the RTNL lock inside the system call that sends a request, which
// nothing can interrupt: neither a deadline nor closing the socket, which would
// wait as well.
//
// After patience it calls slow once, and gives up if that returns an error. It
// gives up as well when ctx ends. The read then goes on alone, and release is
// called when it is over.
func await[T any](ctx context.Context, patience time.Duration, read func() (T, error), slow func() error, release func()) (T, error) {
	type result struct {
		value T
		err   error
	}
	done, abandoned := make(chan result), make(chan struct{})
	defer close(abandoned)
	go func() {
		var r result
		r.value, r.err = read()
		select {
		case done <- r:
		case <-abandoned:
			release()
		}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		var err error
		select {
		case r := <-done:
			return r.value, r.err
		case <-timer.C:
			err = slow()
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			var none T
			return none, err
		}
	}
}
