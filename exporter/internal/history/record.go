package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/netip"

	"routewatch/shared/wire"
)

// A file is one record a line, each with the CRC-32C of its JSON in hex:
//
//	{"crc":"1a2b3c4d","record":{"event":{...}}}
//
// Quotes inside of a record are escaped, so `{"crc":"` is nowhere but at the
// beginning of a line, also where the line feed before it is damaged.
const (
	prefix = `{"crc":"`
	middle = `","record":`
	suffix = "}\n"
	crcLen = 8
	// version is that of this format.
	version = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is a line. It has exactly one of these.
type record struct {
	Header *header     `json:"header,omitempty"` // the first one of a file
	Event  *wire.Event `json:"event,omitempty"`
	// Incident and NodeProblem were open when the file was rewritten.
	Incident    *wire.Incident    `json:"incident,omitempty"`
	NodeProblem *wire.NodeProblem `json:"nodeProblem,omitempty"`
	Members     *members          `json:"members,omitempty"`
}

type header struct {
	Version int `json:"version"`
}

// members are leases of an incident, beside those that were told before: an
// incident itself names but a few.
type members struct {
	Incident string         `json:"incident"`
	Leases   []netip.Prefix `json:"leases"`
}

func encode(r record) []byte {
	body, err := json.Marshal(r)
	if err != nil { // our own types always marshal
		panic("history: " + err.Error())
	}
	line := fmt.Appendf(nil, "%s%0*x%s", prefix, crcLen, crc32.Checksum(body, castagnoli), middle)
	return append(append(line, body...), suffix...)
}

// decode reads a line without its line feed. Every byte of it counts.
func decode(line []byte) (record, bool) {
	var r record
	rest, ok := bytes.CutPrefix(line, []byte(prefix))
	if !ok || len(rest) < crcLen {
		return r, false
	}
	sum := rest[:crcLen]
	body, ok := bytes.CutPrefix(rest[crcLen:], []byte(middle))
	if !ok {
		return r, false
	}
	body, ok = bytes.CutSuffix(body, []byte(suffix[:1]))
	if !ok || string(sum) != fmt.Sprintf("%0*x", crcLen, crc32.Checksum(body, castagnoli)) {
		return r, false
	}
	return r, json.Unmarshal(body, &r) == nil
}

// damage is a place in a file that cannot be read.
type damage struct {
	line int
	at   int // offset in bytes
	n    int // how many bytes
}

func (d damage) String() string {
	return fmt.Sprintf("line %d (%d bytes from byte %d on)", d.line, d.n, d.at)
}

// parsed is what a file holds.
type parsed struct {
	records []record
	damaged []damage // in its middle
	// torn is how many bytes at the end are the beginning of a record: the
	// write of the last one was interrupted.
	torn int
	// untidy: the file has to be written anew even where nothing is lost.
	untidy bool
}

// parse reads all that can be read.
func parse(b []byte) parsed {
	var p parsed
	for at, n := 0, 1; at < len(b); n++ {
		line, _, ended := bytes.Cut(b[at:], []byte("\n"))
		switch r, ok := decode(line); {
		case ok && ended:
			p.records = append(p.records, r)
		default:
			before := len(p.records)
			whole := p.pieces(line)
			p.untidy = p.untidy || whole
			switch {
			case whole:
			case !ended && len(p.records) == before:
				p.torn = len(line)
			default:
				p.add(damage{n, at, len(line)})
			}
		}
		at += len(line) + 1
	}
	p.untidy = p.untidy || len(p.damaged) > 0
	return p
}

// add notes damage; that of lines that follow each other is one.
func (p *parsed) add(d damage) {
	if k := len(p.damaged) - 1; k >= 0 && p.damaged[k].at+p.damaged[k].n+1 == d.at {
		p.damaged[k].n += 1 + d.n
		return
	}
	p.damaged = append(p.damaged, d)
}

// pieces reads what is left in a line that is damaged: the records on both
// sides of a line feed that is none any more. It reports whether nothing is lost.
func (p *parsed) pieces(line []byte) (whole bool) {
	whole = true
	for len(line) > 0 {
		piece, rest := line, []byte(nil)
		if i := bytes.Index(line[1:], []byte(prefix)); i >= 0 {
			piece, rest = line[:i+1], line[i+1:]
		}
		r, ok := decode(piece)
		if !ok && len(piece) > 1 { // what the line feed has become
			r, ok = decode(piece[:len(piece)-1])
		}
		if ok {
			p.records = append(p.records, r)
		}
		whole = whole && ok
		line = rest
	}
	return whole
}

// ours reports whether a file was written by this package, as far as can be
// told: no other must ever be overwritten.
func ours(b []byte) bool {
	return len(b) < len(prefix) && bytes.HasPrefix([]byte(prefix), b) ||
		bytes.Contains(b, []byte(prefix)) || bytes.Contains(b, []byte(middle+"{"))
}
