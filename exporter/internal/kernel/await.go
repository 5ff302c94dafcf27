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

// await runs read on a goroutine of its own and returns what it yields. It gives
// up after patience, and when ctx ends; read then goes on alone, since nothing can
// interrupt the system call it is in: neither a deadline nor closing the socket,
// which would wait as well.
func await[T any](ctx context.Context, patience time.Duration, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.value, r.err = read()
		done <- r
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var none T
	select {
	case r := <-done:
		return r.value, r.err
	case <-timer.C:
		return none, slowError{patience}
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
