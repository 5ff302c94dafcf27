// Package file is the lease source that reads a file with what
// `kubectl get nodes -o json` or `-o yaml` prints, and follows its changes.
//
// The file is polled: its status (size, times, inode, device) tells of every
// change, also of a rename over it and of the symlinks that the kubelet swaps
// in a mounted ConfigMap, and needs neither a watch on each directory of the
// path nor a file system that supports one.
package file

import (
	"context"
	"log/slog"
	"time"

	"routewatch/shared/lease"
)

const (
	source = "file"

	defaultInterval = 500 * time.Millisecond
	// maxUnsettled is how long a file may keep changing, or be empty, before it
	// is read all the same.
	maxUnsettled = 5 * time.Second
)

// Config says which file to read and how.
type Config struct {
	Path     string
	Options  lease.Options
	Interval time.Duration // between two looks at a file that changes, twice that at one that does not; 0: 500 ms
	Log      *slog.Logger  // nil: no log
}

// Read reads the file once. With an error, the Set says the same in its
// Problem and is not Complete.
func Read(cfg Config) (lease.Set, error) {
	w := newWatcher(cfg)
	c, err := load(cfg)
	w.take(c, err, time.Now().UTC())
	return w.keep.Set(), err
}

// Watch sends the Set of the file: the first at once, whatever state the file
// is in, then one for each change and every 30 s. A Set that was not received
// yet is replaced by a newer one. Watch returns nil when ctx ends.
//
// While the file cannot be read, the Set is that of the last good content with
// Complete false and Problem set; Synced is then when that content was last
// seen to be in the file.
func Watch(ctx context.Context, cfg Config, sets chan<- lease.Set) error {
	w := newWatcher(cfg)
	interval := cfg.Interval
	if interval <= 0 {
		interval = defaultInterval
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	out := sets // nil while there is nothing to send
	w.poll(time.Now().UTC())
	for {
		select {
		case <-ctx.Done():
			return nil
		case out <- w.keep.Set():
			out = nil
		case now := <-timer.C:
			if w.poll(now.UTC()) {
				out = sets
			}
			next := interval
			if w.unsettled.IsZero() {
				next = 2 * interval // each look wakes an idle process
			}
			timer.Reset(next)
		}
	}
}
