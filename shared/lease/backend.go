package lease

import (
	"encoding/base64"
	"encoding/json"

	"routewatch/shared/netstate"
)

// backendData reads what the Node's backend has published for the lease's
// family into the lease. Backends other than vxlan and wireguard publish
// nothing that a peer decodes.
func (r nodeReader) backendData(n *Node, l *Lease) finding {
	suffix := "backend-data"
	if l.Family == netstate.IPv6 {
		suffix = "backend-v6-data"
	}
	key := r.prefix.Key(suffix)
	read := readerOf(l.BackendType)
	if read == nil {
		return finding{}
	}
	where := "annotation " + key
	switch v := n.Metadata.Annotations[key]; v {
	case "":
		return found(absent, "%s is not there", where)
	case "null":
		return found(empty, "%s is null: it names no peer of the backend %s", where, l.BackendType)
	default:
		return read(l, where, v)
	}
}

// readerOf returns what reads the data that a backend publishes, of which where
// is the place; nil for a backend that publishes nothing that a peer decodes.
func readerOf(backend string) func(l *Lease, where, data string) finding {
	switch backend {
	case "vxlan":
		return readVXLAN
	case "wireguard":
		return readWireGuard
	}
	return nil
}

// readVXLAN reads {"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}; before v0.14 there is no VNI.
func readVXLAN(l *Lease, where, v string) finding {
	var data struct {
		VNI     uint32
		VtepMAC *string
	}
	if err := json.Unmarshal([]byte(v), &data); err != nil {
		return notJSON(where, v, `{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}`, err)
	}
	l.VNI = data.VNI
	if data.VtepMAC == nil {
		return found(malformed, "%s is %s, which has no VtepMAC", where, quote(v))
	}
	if *data.VtepMAC == "" {
		return found(absent, "%s has an empty VtepMAC: flannel on Windows has not published it yet", where)
	}
	mac, err := netstate.ParseMAC(*data.VtepMAC)
	if err != nil || mac.IsZero() {
		return found(malformed, "%s has the VtepMAC %s, which is no MAC address", where, quote(*data.VtepMAC))
	}
	l.MAC = mac
	return finding{}
}

// readWireGuard reads {"PublicKey":"base64=","Port":51820}; before v0.26.6 there is no Port.
func readWireGuard(l *Lease, where, v string) finding {
	var data struct {
		PublicKey string
		Port      uint16
	}
	if err := json.Unmarshal([]byte(v), &data); err != nil {
		return notJSON(where, v, `{"PublicKey":"...=","Port":51820}`, err)
	}
	if b, err := base64.StdEncoding.DecodeString(data.PublicKey); err != nil || len(b) != 32 {
		return found(malformed, "%s has the PublicKey %s, which is no WireGuard key", where, quote(data.PublicKey))
	}
	l.PublicKey, l.Port = data.PublicKey, data.Port
	return finding{}
}

func notJSON(where, v, want string, err error) finding {
	return found(malformed, "%s is %s, which is not like %s: %s", where, quote(v), want, describe(err))
}
