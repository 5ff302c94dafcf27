//go:build linux

package netns

import (
	"encoding"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What a NEW request does with an object that exists.
const (
	create      = netlink.Create | netlink.Excl
	replace     = netlink.Create | netlink.Replace
	appendAfter = netlink.Create | netlink.Append
	change      = netlink.HeaderFlags(0) // also of DEL requests
)

// encode adds attributes to a message.
type encode func(*netlink.AttributeEncoder)

// execute sends a request that is answered by an acknowledgment only.
func (ns *NS) execute(what string, typ netlink.HeaderType, flags netlink.HeaderFlags, data []byte) error {
	_, err := ns.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: flags | netlink.Request | netlink.Acknowledge},
		Data:   data,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// message sends a fixed header of rtnetlink followed by attributes.
func (ns *NS) message(what string, typ netlink.HeaderType, flags netlink.HeaderFlags, header []byte, attributes encode) error {
	ae := netlink.NewAttributeEncoder()
	attributes(ae)
	attrs, err := ae.Encode()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return ns.execute(what, typ, flags, append(header, attrs...))
}

// marshal sends a message that rtnetlink encodes.
func (ns *NS) marshal(what string, typ netlink.HeaderType, flags netlink.HeaderFlags, m encoding.BinaryMarshaler) error {
	data, err := m.MarshalBinary()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return ns.execute(what, typ, flags, data)
}

// IsNotThere reports whether a deletion failed because the object, or the
// device that held it, is gone already.
func IsNotThere(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}
