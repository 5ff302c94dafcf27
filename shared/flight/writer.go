package flight

import (
	"encoding/json"
	"fmt"
	"io"

	"routewatch/shared/judge"
	"routewatch/shared/wire"
)

// refresh is how many times the size of a full record the records that build on
// it may take together before the next full one.
const refresh = 4

// Writer writes a section of a recording. After an error it must not be used
// any more: the next Writer begins a section of its own.
type Writer struct {
	w      io.Writer
	enc    encoder
	full   bool // the next record must be
	lost   uint64
	size   int // bytes of the last full record
	since  int // bytes of the records since then
	buffer []byte
}

// NewWriter returns a Writer whose first Write writes the beginning of the
// section as well.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	body, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode the header of the recording: %w", err)
	}
	start := fmt.Appendf(nil, "%s%d\n", Magic, Format)
	return &Writer{w: w, full: true, buffer: appendFrame(start, kindHead, body)}, nil
}

// Lost notes that inputs were not recorded: the next record says so, and does
// not build on what is not there.
func (w *Writer) Lost(inputs uint64) {
	w.lost += inputs
	w.full = w.full || inputs > 0
}

// Write records what judge.Next is given. Each record is one call of the
// underlying Write, so that a record that does not fit can be refused as a whole.
func (w *Writer) Write(previous *wire.Snapshot, in judge.Input) error {
	full := w.full || w.since > refresh*w.size || w.enc.forgets(in)
	body, err := w.enc.encode(full, previous, in, w.lost)
	if err != nil {
		return err
	}
	kind := byte(kindDelta)
	if full {
		kind = kindFull
	}
	w.buffer = appendFrame(w.buffer, kind, body)
	if _, err := w.w.Write(w.buffer); err != nil {
		return err
	}
	w.since += len(body)
	if full {
		w.size, w.since = len(body), 0
	}
	w.buffer, w.full, w.lost = w.buffer[:0], false, 0
	return nil
}
