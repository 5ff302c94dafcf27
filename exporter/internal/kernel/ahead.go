package kernel

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// aheadBatches is how many batches of a large dump are filled or looked at at once.
const aheadBatches = 3

// ahead receives the batches of a dump while those before are looked at: the
// kernel makes a dump while it is received, and needs as long for that as there
// are routes.
type ahead struct {
	full, free chan *batch
}

// startAhead begins to receive. It ends by itself when nothing is there, which
// for a dump means that it is over, and after an error.
func startAhead(raw syscall.RawConn) *ahead {
	a := &ahead{make(chan *batch, aheadBatches), make(chan *batch, aheadBatches)}
	for range aheadBatches {
		a.free <- newBatch()
	}
	go func() {
		defer close(a.full)
		for b := range a.free {
			if err := raw.Control(b.look); err != nil || b.errno == unix.EAGAIN {
				return
			}
			a.full <- b
			if b.errno != 0 {
				return
			}
		}
	}()
	return a
}

// next exchanges a batch that was looked at for the next one; nil: there is none.
func (a *ahead) next(done *batch) *batch {
	b := <-a.full
	if b != nil {
		a.free <- done
	}
	return b
}

// stop ends it, and returns when the socket is free for others.
func (a *ahead) stop() {
	close(a.free)
	for range a.full {
	}
}
