package mend

import (
	"net/netip"
	"strconv"

	"routewatch/shared/netstate"
)

// line is a text of words with a space between them. It is what costs when
// thousands of leases break at once, so nothing is printed twice on its way.
type line []byte

// roomy is room for nearly every line, so that it is allocated once, as a string.
const roomy = 192

func (l line) space() line {
	if len(l) > 0 {
		l = append(l, ' ')
	}
	return l
}

func (l line) words(words ...string) line {
	for _, w := range words {
		l = append(l.space(), w...)
	}
	return l
}

func (l line) addr(a netip.Addr) line {
	if !a.IsValid() {
		return l.words(a.String()) // AppendTo appends nothing then
	}
	return a.AppendTo(l.space())
}

func (l line) prefix(p netip.Prefix) line {
	if !p.IsValid() {
		return l.words(p.String())
	}
	return p.AppendTo(l.space())
}

func (l line) mac(m netstate.MAC) line { return m.AppendTo(l.space()) }

func (l line) number(n uint32) line { return strconv.AppendUint(l.space(), uint64(n), 10) }
