package netstate

import (
	"encoding"
	"fmt"
	"net"
)

// MAC is a 48-bit hardware address. The zero value means "none" and its text
// form is empty.
type MAC [6]byte

var (
	_ encoding.TextMarshaler   = MAC{}
	_ encoding.TextUnmarshaler = (*MAC)(nil)
)

// ParseMAC reads the usual text forms of a 48-bit hardware address.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("%q is not a MAC address of 6 bytes", s)
	}
	return MAC(hw), nil
}

// IsZero reports whether m is the zero address, which no device has.
func (m MAC) IsZero() bool { return m == MAC{} }

func (m MAC) String() string {
	return string(m.AppendTo(make([]byte, 0, 17)))
}

// AppendTo appends the text form.
func (m MAC) AppendTo(b []byte) []byte {
	const hex = "0123456789abcdef"
	if m.IsZero() {
		return b
	}
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hex[x>>4], hex[x&15])
	}
	return b
}

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	v, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}
