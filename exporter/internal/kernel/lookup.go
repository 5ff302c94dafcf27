package kernel

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// lookupBatch is how many questions go out in one send. With the default
// receive buffer the kernel drops replies without a word from 300 on.
const lookupBatch = 128

// lookups asks the kernel's own route lookup, in the order of the queries.
func (r *requests) lookups(queries []netstate.Query) ([]netstate.Lookup, error) {
	answers := make([]netstate.Lookup, 0, len(queries))
	for len(queries) > 0 {
		n := min(len(queries), lookupBatch)
		batch, err := r.lookupBatch(queries[:n])
		if err != nil {
			return nil, fmt.Errorf("look up routes: %w", err)
		}
		answers = append(answers, batch...)
		queries = queries[n:]
	}
	return answers, nil
}

func (r *requests) lookupBatch(queries []netstate.Query) ([]netstate.Lookup, error) {
	messages := make([]netlink.Message, len(queries))
	for i, q := range queries {
		messages[i] = netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
			Data:   encodeQuery(q),
		}
	}
	sent, err := r.conn.SendMessages(messages)
	if err != nil {
		return nil, err
	}
	bySeq := make(map[uint32]int, len(sent))
	for i, m := range sent {
		bySeq[m.Header.Sequence] = i
	}
	answers := make([]netstate.Lookup, len(queries))
	for len(bySeq) > 0 {
		err := r.replies(func(h header, body []byte) error {
			i, ok := bySeq[h.Seq]
			if !ok {
				return nil
			}
			delete(bySeq, h.Seq)
			answers[i], err = decodeAnswer(queries[i], h, body)
			if err == nil && answers[i].Route.Multipath {
				err = r.noteHops(body)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
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

// encodeQuery makes struct rtmsg and its attributes by hand: rtnetlink has
// neither RTA_SRC, RTA_IIF nor RTA_UID.
func encodeQuery(q netstate.Query) []byte {
	b := make([]byte, unix.SizeofRtMsg, 80)
	b[0] = addressFamily(netstate.FamilyOf(q.Dst))
	b[1] = uint8(q.Dst.BitLen())
	flags := uint32(unix.RTM_F_FIB_MATCH)
	if q.Dst.Is4() {
		flags |= unix.RTM_F_LOOKUP_TABLE // else IPv4 names table main, whatever matched; IPv6 refuses the flag
	}
	native.PutUint32(b[8:], flags)
	b = appendAttrAddr(b, unix.RTA_DST, q.Dst)
	if q.Src.IsValid() {
		b[2] = uint8(q.Src.BitLen())
		b = appendAttrAddr(b, unix.RTA_SRC, q.Src)
	}
	if q.IIF != 0 {
		b = appendAttr32(b, unix.RTA_IIF, uint32(q.IIF))
	}
	return appendAttr32(b, unix.RTA_UID, 0)
}
