// Package flight is the flight recorder's codec: it writes every judge.Input
// that an exporter judges, and reads and judges them again with the same
// judge.Next. A recording is a bug report and a regression test in one file.
//
// It is pure: it knows io.Reader and io.Writer, and is told the time.
//
// # Format
//
// A recording is one section after the other, so that files that follow each
// other can be joined with cat. A section can be replayed by itself:
//
//	routewatch recording 1\n    the version of this format
//	frame 'h'                   the Header, as JSON
//	frame 'f'                   a full record
//	frame 'd'                   a record that builds on the one before it
//	...
//
// A frame is a mark, its kind, the length and the CRC-32C of its body (see
// frame.go), so that what is torn or damaged is noticed, and the next good
// frame is found. The body of a record is gob, which keeps what JSON leaves
// out, in a DEFLATE stream that goes on over the frames up to the next full one.
//
// A full record holds the snapshot before it, the Set and the State. There is
// one at the beginning of each section, after each gap, and again and again, so
// that damage costs little. Of all others a Set or State that is the same takes
// no room, and one that changed takes what changed.
package flight

import (
	"fmt"
	"strings"

	"routewatch/shared/judge"
)

// Format is the version of the format that this package writes and reads.
const Format = 1

// Magic is how every recording begins; the version of its format follows.
const Magic = "routewatch recording "

// The bounds of what is read, so that a damaged or hostile file takes no more
// memory than a real one. 20,000 leases stay below them.
const (
	maxRecord = 128 << 20 // bytes of a record, uncompressed
	maxFile   = 2 << 30   // bytes
	maxItems  = 1 << 20   // of one list of a Set or State
)

// Header says who recorded, and with what options it judged.
type Header struct {
	Version string        `json:"version"` // of routewatch
	Options judge.Options `json:"options"`
}

// Damage is a place of a recording that cannot be used. The rest of it can.
type Damage struct {
	Record int    // its number, from 1
	At     int64  // bytes from the beginning of the file
	Bytes  int64  // that cannot be used
	What   string // what was expected, and what is there
	// Skipped is how many whole records after it are lost with it, because they
	// build on it.
	Skipped int
}

func (d *Damage) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "record %d (%d bytes from byte %d on) is lost: %s", d.Record, d.Bytes, d.At, d.What)
	if d.Skipped > 0 {
		fmt.Fprintf(&b, "; the next %d are lost with it, since they build on it", d.Skipped)
	}
	return b.String()
}
