package flight

import (
	"bytes"
	"compress/flate"
	"encoding/gob"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// record is one Input. A Set or State that is absent is that of the record
// before it, which of a full record is nil.
type record struct {
	Lost        uint64         // inputs before this one that were not recorded
	Past        *wire.Snapshot // of a full record: what Next was given
	Set         *setDelta
	State       *stateDelta
	Touched     []netip.Prefix
	TouchedNone bool // it is empty and not nil
	Now         time.Time
}

// base is what a record builds on.
type base struct {
	set   *lease.Set
	state *netstate.State
}

// encoder makes the bodies of records.
type encoder struct {
	base
	gob *gob.Encoder
	zip *flate.Writer
	out bytes.Buffer
}

// encode returns a body, which is good until the next call.
func (e *encoder) encode(full bool, past *wire.Snapshot, in judge.Input, lost uint64) ([]byte, error) {
	e.out.Reset()
	if full {
		if e.zip == nil {
			e.zip, _ = flate.NewWriter(nil, flate.DefaultCompression) // fails on no such level only
		}
		e.zip.Reset(&e.out)
		e.gob, e.base = gob.NewEncoder(e.zip), base{}
	}
	r := record{Lost: lost, Touched: in.Touched, TouchedNone: none(in.Touched), Now: in.Now}
	if full {
		r.Past = past
	}
	// Sets and States are never modified, so the same pointer is the same picture.
	if in.Set != e.set {
		r.Set = diffSet(e.set, in.Set)
	}
	if in.State != e.state {
		r.State = diffState(e.state, in.State)
	}
	e.base = base{in.Set, in.State}
	if err := e.gob.Encode(r); err != nil {
		return nil, fmt.Errorf("encode an input: %w", err)
	}
	if err := e.zip.Flush(); err != nil {
		return nil, fmt.Errorf("compress an input: %w", err)
	}
	return e.out.Bytes(), nil
}

// forgets reports whether an input lacks what the one before it had: only a
// full record can say that.
func (b base) forgets(in judge.Input) bool {
	return b.set != nil && in.Set == nil || b.state != nil && in.State == nil
}

const (
	// window is how far back DEFLATE refers, in bytes.
	window = 32 << 10
	// lastBlock ends a stream that was only flushed.
	lastBlock = "\x01\x00\x00\xff\xff"
)

// decoder reads the bodies that an encoder made.
type decoder struct {
	base
	gob    *gob.Decoder
	in     *bytes.Buffer
	zip    io.ReadCloser
	window []byte // the end of what was uncompressed
}

// decode reads a body. After an error only a full record can be read.
func (d *decoder) decode(full bool, body []byte) (record, judge.Input, error) {
	if full {
		d.base, d.in, d.window = base{}, &bytes.Buffer{}, d.window[:0]
		d.gob = gob.NewDecoder(d.in)
	}
	var r record
	plain, err := d.unzip(body)
	if err != nil {
		return r, judge.Input{}, err
	}
	d.in.Write(plain)
	if err := d.gob.Decode(&r); err != nil {
		return r, judge.Input{}, fmt.Errorf("expected an input of the judge: %w", err)
	}
	if d.in.Len() > 0 {
		return r, judge.Input{}, fmt.Errorf("expected one input, found %d bytes behind it", d.in.Len())
	}
	if r.Set != nil {
		if d.set, err = r.Set.patch(d.set); err != nil {
			return r, judge.Input{}, fmt.Errorf("the leases: %w", err)
		}
	}
	if r.State != nil {
		if d.state, err = r.State.patch(d.state); err != nil {
			return r, judge.Input{}, fmt.Errorf("the kernel's picture: %w", err)
		}
	}
	return r, judge.Input{Set: d.set, State: d.state, Touched: some(r.Touched, r.TouchedNone), Now: r.Now}, nil
}

func (d *decoder) unzip(body []byte) ([]byte, error) {
	in := io.MultiReader(bytes.NewReader(body), strings.NewReader(lastBlock))
	if d.zip == nil {
		d.zip = flate.NewReader(nil)
	}
	if err := d.zip.(flate.Resetter).Reset(in, d.window); err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(io.LimitReader(d.zip, maxRecord+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("expected compressed data: %w", err)
	case len(plain) > maxRecord:
		return nil, fmt.Errorf("expected at most %d bytes, found more", maxRecord)
	}
	d.window = append(d.window, plain...)
	d.window = append(d.window[:0], d.window[max(0, len(d.window)-window):]...)
	return plain, nil
}
