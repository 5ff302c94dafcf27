package flight

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"routewatch/shared/judge"
	"routewatch/shared/wire"
)

// Moment is one step of a replay.
type Moment struct {
	// N is its number, from 1.
	N      int
	Header *Header
	// Lost is how many inputs right before it were not recorded.
	Lost uint64
	// Input was judged with Previous, and Snapshot is the result. A Set or State
	// that is that of the moment before is the same pointer.
	Input    judge.Input
	Previous *wire.Snapshot // nil at the start
	Snapshot *wire.Snapshot
}

// Replay reads a recording and judges it again, one moment after the other. An
// error that is a *Damage is about a part, and the replay goes on behind it; any
// other one ends it.
//
// The snapshot goes on from the one before it and not from the recorded one,
// but where a section begins, after a gap and after damage: so a judge that was
// mended shows what it would have said.
func Replay(r io.Reader) iter.Seq2[Moment, error] {
	return func(yield func(Moment, error) bool) {
		p := player{yield: yield}
		if err := p.play(r); err != nil && !errors.Is(err, errStopped) {
			yield(Moment{}, err)
		}
	}
}

// All replays a whole recording. Other than Replay it fails on any damage: it
// is for tests.
func All(r io.Reader) ([]Moment, error) {
	var all []Moment
	for m, err := range Replay(r) {
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// errStopped: nobody wants to hear more.
var errStopped = errors.New("stopped")

type player struct {
	yield   func(Moment, error) bool
	dec     decoder
	header  *Header // of the section; nil: it was not read
	now     *wire.Snapshot
	broken  bool    // the next record must be full
	records int     // that were found, damaged ones among them
	moments int     // that were judged
	damage  *Damage // that was not told yet
}

func (p *player) play(r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the recording: %w", err)
	case len(b) > maxFile:
		return fmt.Errorf("expected a recording of at most %d bytes, found more", maxFile)
	case len(b) == 0:
		return errors.New("expected a recording, found nothing: the exporter writes one with --record FILE")
	}
	first, what := parsePiece(b)
	if what != "" && nextGood(b) == len(b) {
		return fmt.Errorf("it is not a recording of routewatch, which begins with %q: the exporter writes one with --record FILE", Magic)
	}
	if err := checkFormat(first); err != nil {
		return err
	}
	for at := 0; at < len(b); {
		piece, what := parsePiece(b[at:])
		if what != "" {
			n := nextGood(b[at:])
			p.records++
			if err := p.damaged(what, at, n); err != nil {
				return err
			}
			at += n
			continue
		}
		if err := p.piece(piece, at); err != nil {
			return err
		}
		at += piece.size
	}
	return p.tell()
}

func checkFormat(p piece) error {
	if p.kind == kindStart && p.format > Format {
		return fmt.Errorf("the recording has the format %d, and this routewatch reads up to %d: "+
			"use the version of routewatch that wrote it, or a newer one", p.format, Format)
	}
	return nil
}

// piece takes a piece that was read well; its error ends the replay.
func (p *player) piece(x piece, at int) error {
	switch x.kind {
	case kindStart:
		p.header, p.broken = nil, true
		return checkFormat(x)
	case kindHead:
		header := &Header{}
		if err := json.Unmarshal(x.body, header); err != nil {
			return p.damaged(fmt.Sprintf("expected the header of a recording: %v", err), at, x.size)
		}
		p.header, p.broken = header, true
		return nil
	case kindFull, kindDelta:
		return p.record(x, at)
	}
	p.records++
	return p.damaged(fmt.Sprintf("expected a kind of record that this version knows, found %q", x.kind), at, x.size)
}

func (p *player) record(x piece, at int) error {
	p.records++
	full := x.kind == kindFull
	switch {
	case p.header == nil:
		return p.damaged("expected a header before it, found none", at, x.size)
	case !full && p.broken && p.damage == nil:
		return p.damaged("expected a full record, found one that builds on another", at, x.size)
	case !full && p.broken:
		p.damage.Skipped++
		return nil
	}
	r, in, err := p.dec.decode(full, x.body)
	if err != nil {
		return p.damaged(err.Error(), at, x.size)
	}
	if err := p.tell(); err != nil {
		return err
	}
	if p.broken || r.Lost > 0 {
		p.now = r.Past
	}
	p.broken = false
	p.moments++
	m := Moment{N: p.moments, Header: p.header, Lost: r.Lost, Input: in, Previous: p.now}
	m.Snapshot, _ = judge.Next(p.header.Options, p.now, in)
	p.now = m.Snapshot
	if !p.yield(m, nil) {
		return errStopped
	}
	return nil
}

// damaged notes a damage; it is told as soon as it is known what is lost with it.
func (p *player) damaged(what string, at, n int) error {
	err := p.tell()
	p.damage = &Damage{Record: max(p.records, 1), At: int64(at), Bytes: int64(n), What: what}
	p.broken = true
	return err
}

func (p *player) tell() error {
	if p.damage == nil {
		return nil
	}
	d := p.damage
	p.damage = nil
	if !p.yield(Moment{}, d) {
		return errStopped
	}
	return nil
}
