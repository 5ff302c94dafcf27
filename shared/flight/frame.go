package flight

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
)

// A frame is mark, kind, length of the body, CRC-32C of kind and body, and the
// body; numbers have 4 bytes, the highest first.
const (
	mark      = "\x00rwf"
	kindAt    = len(mark)
	lengthAt  = kindAt + 1
	sumAt     = lengthAt + 4
	bodyAt    = sumAt + 4
	kindStart = 's' // no frame: the line that a section begins with
	kindHead  = 'h'
	kindFull  = 'f'
	kindDelta = 'd'
	// maxStart is how long the line of a section may be, in bytes.
	maxStart = len(Magic) + 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(kind byte, body []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte{kind}, castagnoli), castagnoli, body)
}

func appendFrame(b []byte, kind byte, body []byte) []byte {
	b = append(append(b, mark...), kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, checksum(kind, body))
	return append(b, body...)
}

// piece is a frame, or the line that begins a section.
type piece struct {
	kind   byte
	body   []byte
	format int // of kindStart
	size   int // bytes in the file
}

// parsePiece reads what b begins with; what says why it cannot.
func parsePiece(b []byte) (p piece, what string) {
	if bytes.HasPrefix(b, []byte(Magic)) {
		line, _, ended := bytes.Cut(b[:min(len(b), maxStart)], []byte("\n"))
		format, err := strconv.Atoi(string(line[len(Magic):]))
		if !ended || err != nil || format < 1 {
			return p, fmt.Sprintf("expected %q and a number, found %q", Magic, line)
		}
		return piece{kind: kindStart, format: format, size: len(line) + 1}, ""
	}
	if !bytes.HasPrefix(b, []byte(mark)) {
		return p, "expected the mark of a record, found something else"
	}
	if len(b) < bodyAt {
		return p, fmt.Sprintf("it was not written to its end: expected %d bytes or more, found %d", bodyAt, len(b))
	}
	length := binary.BigEndian.Uint32(b[lengthAt:])
	if uint64(length) > uint64(len(b)-bodyAt) {
		return p, fmt.Sprintf("it was not written to its end: expected %d bytes, found %d", uint64(length)+uint64(bodyAt), len(b))
	}
	p = piece{kind: b[kindAt], body: b[bodyAt : bodyAt+int(length)], size: bodyAt + int(length)}
	if want, got := binary.BigEndian.Uint32(b[sumAt:]), checksum(p.kind, p.body); want != got {
		return p, fmt.Sprintf("expected the checksum %08x, found %08x", want, got)
	}
	return p, ""
}

// nextGood returns how far the next piece that can be read is; len(b) if there is none.
func nextGood(b []byte) int {
	for at := 1; at < len(b); at++ {
		step := nearest(b[at:])
		if step < 0 {
			break
		}
		at += step
		if _, what := parsePiece(b[at:]); what == "" {
			return at
		}
	}
	return len(b)
}

// nearest is how far the nearest beginning of a piece is, -1 if there is none.
func nearest(b []byte) int {
	frame, start := bytes.Index(b, []byte(mark)), bytes.Index(b, []byte(Magic))
	if frame < 0 || start >= 0 && start < frame {
		return start
	}
	return frame
}
