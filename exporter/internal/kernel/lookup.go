package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// lookupBatch is how many questions go out in one send. With the default
// receive buffer the kernel drops replies without a word from 300 on.
const lookupBatch = 128

// lookups asks the kernel's own route lookup, in the order of the queries. Of
// many it asks half on another socket at the same time: the kernel answers on the
// CPU that asks.
func (r *requests) lookups(queries []netstate.Query) ([]netstate.Lookup, error) {
	answers := make([]netstate.Lookup, len(queries))
	half := 0
	if r.beside != nil && len(queries) > 4*lookupBatch {
		half = len(queries) / 2
	}
	other := make(chan error, 1)
	if half > 0 {
		go func() { other <- r.beside.lookupsInto(answers[:half], queries[:half]) }()
	} else {
		other <- nil
	}
	if err := errors.Join(r.lookupsInto(answers[half:], queries[half:]), <-other); err != nil {
		return nil, fmt.Errorf("look up routes: %w", err)
	}
	if half > 0 {
		union(&r.hops, r.beside.hops)
		r.beside.hops = nil
	}
	return answers, nil
}

func (r *requests) lookupsInto(answers []netstate.Lookup, queries []netstate.Query) error {
	for len(queries) > 0 {
		n := min(len(queries), lookupBatch)
		if err := r.lookupBatch(answers[:n], queries[:n]); err != nil {
			return err
		}
		answers, queries = answers[n:], queries[n:]
	}
	return nil
}

func (r *requests) lookupBatch(answers []netstate.Lookup, queries []netstate.Query) error {
	first := r.seq + 1
	b := r.batch[:0]
	for _, q := range queries {
		r.seq++
		b = appendQuery(b, r.seq, q)
	}
	r.batch = b
	if err := r.send(b); err != nil {
		return err
	}
	answered := make([]bool, len(queries))
	for left := len(queries); left > 0; {
		err := r.replies(func(h header, body []byte) error {
			i := h.Seq - first
			if i >= uint32(len(queries)) || answered[i] {
				return nil
			}
			answered[i] = true
			left--
			var err error
			answers[i], err = decodeAnswer(queries[i], h, body)
			if err == nil && answers[i].Route.Multipath {
				err = r.noteHops(body)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func decodeAnswer(q netstate.Query, h header, body []byte) (netstate.Lookup, error) {
	l := netstate.Lookup{Query: q}
	if h.Type != unix.NLMSG_ERROR {
		route, ok, err := decodeRoute(body)
		if err == nil && !ok {
			err = errors.New("the answer is no route")
		}
		l.Route = route
		return l, err
	}
	var errno unix.Errno
	if err := replyError(body); !errors.As(err, &errno) {
		return l, errors.Join(errors.New("the answer is empty"), err)
	}
	l.Errno = int(errno)
	return l, nil
}

// appendQuery appends a message: struct nlmsghdr, struct rtmsg and its attributes
// by hand, since rtnetlink has neither RTA_SRC, RTA_IIF nor RTA_UID.
func appendQuery(b []byte, seq uint32, q netstate.Query) []byte {
	start := len(b)
	b = native.AppendUint32(b, 0) // the length, see below
	b = native.AppendUint16(b, unix.RTM_GETROUTE)
	b = native.AppendUint16(b, unix.NLM_F_REQUEST)
	b = native.AppendUint32(b, seq)
	b = native.AppendUint32(b, 0)
	flags, srcLen := uint32(unix.RTM_F_FIB_MATCH), 0
	if q.Dst.Is4() {
		flags |= unix.RTM_F_LOOKUP_TABLE // else IPv4 names table main, whatever matched; IPv6 refuses the flag
	}
	if q.Src.IsValid() {
		srcLen = q.Src.BitLen()
	}
	b = append(b, addressFamily(netstate.FamilyOf(q.Dst)), uint8(q.Dst.BitLen()), uint8(srcLen), 0, 0, 0, 0, 0)
	b = native.AppendUint32(b, flags)
	b = appendAttrAddr(b, unix.RTA_DST, q.Dst)
	if q.Src.IsValid() {
		b = appendAttrAddr(b, unix.RTA_SRC, q.Src)
	}
	if q.IIF != 0 {
		b = appendAttr32(b, unix.RTA_IIF, uint32(q.IIF))
	}
	b = appendAttr32(b, unix.RTA_UID, 0)
	native.PutUint32(b[start:], uint32(len(b)-start))
	return b
}
