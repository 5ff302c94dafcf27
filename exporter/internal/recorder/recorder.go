// Package recorder writes a recording (see shared/flight) of everything that the
// engine judges, without ever keeping it from judging.
//
// Inputs wait in a short queue for the one goroutine that writes. What does not
// fit there, or cannot be written since the disk is full, is lost; the recording
// says how many inputs were lost as soon as it can be written again, and the log
// at once.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/shared/flight"
	"routewatch/shared/judge"
	"routewatch/shared/wire"
)

const (
	// DefaultMaxSize bounds the file and its predecessor together, in bytes.
	DefaultMaxSize = 64 << 20
	// MinSize is the least bound that makes sense.
	MinSize = 1 << 20
	// queued is how many inputs wait to be written. A picture of 5,000 leases
	// takes some 10 MB, and each may be another one.
	queued = 16
)

// The wait between two attempts to write.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Config is what a Recorder needs.
type Config struct {
	Path    string
	MaxSize int64 // bytes of the file and its predecessor together
	Header  flight.Header
	Log     *slog.Logger
}

// Recorder records. Record must be called from one goroutine at a time; Run
// only once.
type Recorder struct {
	cfg     Config
	log     *slog.Logger
	queue   chan item
	dropped uint64 // inputs since the last one that was queued; owned by Record

	// Owned by Run.
	file    *file          // nil while it cannot be opened
	writer  *flight.Writer // nil: the next record begins a section
	lost    uint64         // inputs since the last one that was written
	failing bool
	retry   time.Duration
	again   time.Time // when to try to write again
}

type item struct {
	previous *wire.Snapshot
	in       judge.Input
	dropped  uint64 // inputs right before this one that found the queue full
}

// New returns a Recorder. The file is opened by Run.
func New(cfg Config) *Recorder {
	return &Recorder{cfg: cfg, log: cfg.Log.With("record", cfg.Path), queue: make(chan item, queued), retry: firstRetry}
}

// Record queues what is about to be judged. It never waits. Nothing of it may
// be modified afterwards.
func (r *Recorder) Record(previous *wire.Snapshot, in judge.Input) {
	select {
	case r.queue <- item{previous, in, r.dropped}:
		r.dropped = 0
	default:
		r.dropped++
	}
}

// Run writes until ctx ends, and then what is queued.
func (r *Recorder) Run(ctx context.Context) {
	defer func() {
		if r.file != nil {
			_ = r.file.Close()
		}
	}()
	for {
		select {
		case i := <-r.queue:
			r.take(i)
		case <-ctx.Done():
			for {
				select {
				case i := <-r.queue:
					r.take(i)
				default:
					return
				}
			}
		}
	}
}

// take writes an input, or counts it as lost.
func (r *Recorder) take(i item) {
	r.lost += i.dropped
	if r.failing && time.Now().Before(r.again) {
		r.lost++
		return
	}
	if err := r.write(i); err != nil {
		r.failed(err)
		r.lost++
		return
	}
	if r.lost > 0 {
		r.log.Warn("the recording has a gap", "inputs", r.lost)
	}
	if r.failing {
		r.log.Info("the recording is written again")
	}
	r.lost, r.failing, r.retry = 0, false, firstRetry
}

// write appends an input, in a new file where the old one is full.
func (r *Recorder) write(i item) error {
	if r.file == nil {
		f, err := openFile(r.cfg.Path, r.cfg.MaxSize/2)
		if err != nil {
			return err
		}
		r.file, r.writer = f, nil
	}
	err := r.append(i)
	if errors.Is(err, errFull) {
		if err = r.file.rotate(); err == nil {
			err = r.append(i)
		}
	}
	if errors.Is(err, errFull) {
		return fmt.Errorf("one input alone does not fit into half of %d bytes: give a larger --record.max-size", r.cfg.MaxSize)
	}
	return err
}

func (r *Recorder) append(i item) error {
	if r.writer == nil {
		w, err := flight.NewWriter(r.file, r.cfg.Header)
		if err != nil {
			return err
		}
		r.writer = w
	}
	r.writer.Lost(r.lost)
	err := r.writer.Write(i.previous, i.in)
	if err != nil {
		r.writer = nil
	}
	return err
}

// failed closes the file, to be opened anew later. The same trouble is told once.
func (r *Recorder) failed(err error) {
	if r.file != nil {
		_ = r.file.Close()
		r.file, r.writer = nil, nil
	}
	r.again = time.Now().Add(r.retry)
	r.retry = min(2*r.retry, lastRetry)
	if r.failing {
		return
	}
	r.failing = true
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w; make room on its disk", err)
	}
	r.log.Error("the recording is not written", "error", err)
}
