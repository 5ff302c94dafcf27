package lease

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"routewatch/shared/netstate"
)

// SourceEtcd is the Set.Source of leases that flannel keeps in etcd.
const SourceEtcd = "etcd"

// KeyValue is what etcd has below flannel's prefix: the key without the prefix
// and "/subnets/", as in "10.1.2.0-24" or "10.1.2.0-24&fc00:10:1:2::-64"
// (pkg/subnet/subnet.go, MakeSubnetKey), and the value.
type KeyValue struct {
	Key   string
	Value []byte
}

// EtcdOptions say how to read keys. Families are those that this node's flannel
// serves; none: what its own lease has. Addrs are the addresses of this node's
// devices: a lease in etcd names no node.
type EtcdOptions struct {
	Self     string
	Families []netstate.Family
	Addrs    []netip.Addr
}

// leaseAttrs is the value of a key (pkg/lease/lease.go, LeaseAttrs).
type leaseAttrs struct {
	PublicIP      string
	PublicIPv6    *string
	BackendType   string
	BackendData   json.RawMessage
	BackendV6Data json.RawMessage
}

// FromEtcd turns keys into a Set, as flannel's etcd subnet manager does
// (pkg/subnet/etcd, v0.28.10). Every key is accounted for: its leases are in Own
// or Leases, or it is in Skipped. The peer of a lease is its public IP.
//
// Complete is true; Synced and Generation are the caller's to set.
func FromEtcd(kvs []KeyValue, opts EtcdOptions) Set {
	set := Set{Source: SourceEtcd, Self: opts.Self, Complete: true}
	sorted := slices.SortedFunc(slices.Values(kvs), func(a, b KeyValue) int { return cmp.Compare(a.Key, b.Key) })
	var all [][]Lease
	for _, kv := range sorted {
		leases, skipped := fromKey(kv)
		set.Skipped = append(set.Skipped, skipped...)
		if len(leases) > 0 {
			all = append(all, leases)
		}
	}
	own := ownKey(all, opts.Addrs)
	if set.Families = sortedFamilies(opts.Families); len(set.Families) == 0 {
		set.Families = familiesIn(all, own)
	}
	for i, leases := range all {
		leases = slices.DeleteFunc(leases, func(l Lease) bool { return !slices.Contains(set.Families, l.Family) })
		if i != own {
			set.Leases = append(set.Leases, leases...)
			continue
		}
		for j := range leases {
			leases[j].Peer = opts.Self
		}
		set.Own = leases
	}
	set.sort()
	MarkConflicts(&set)
	return set
}

// familiesIn are those of the own lease, or of all where that is not known.
func familiesIn(all [][]Lease, own int) []netstate.Family {
	var families []netstate.Family
	for i, leases := range all {
		if own >= 0 && i != own {
			continue
		}
		for _, l := range leases {
			families = append(families, l.Family)
		}
	}
	return sortedFamilies(families)
}

// ownKey finds the lease of this node: flannel takes the one with its own public
// IP (local_manager.go:155). With another one than its device's, as behind NAT,
// or where several have it, the first address of the subnet tells, which
// flannel's device has. It returns -1 if there is none.
func ownKey(all [][]Lease, addrs []netip.Addr) int {
	has := func(a netip.Addr) bool { return slices.Contains(addrs, a) }
	best, most := -1, 0
	for i, leases := range all {
		fit := 0
		for _, l := range leases {
			if has(l.PublicIP) {
				fit |= 2
			}
			if l.Subnet.IsValid() && has(l.Subnet.Addr()) {
				fit |= 1
			}
		}
		if fit > most {
			best, most = i, fit
		}
	}
	return best
}

// fromKey reads one key: its leases, or why it is none.
func fromKey(kv KeyValue) ([]Lease, []Skipped) {
	name, _ := shorten(kv.Key, 100)
	subnets, err := parseSubnetKey(kv.Key)
	if err != nil {
		return nil, []Skipped{{Node: name, Reason: "is no lease of flannel's: " + err.Error()}}
	}
	var attrs leaseAttrs
	if err := json.Unmarshal(kv.Value, &attrs); err != nil {
		return malformedKey(name, subnets, fmt.Sprintf("the value of key %s is %s, which is not like %s: %s",
			name, quote(string(kv.Value)), `{"PublicIP":"192.168.1.59","BackendType":"vxlan",...}`, describe(err)))
	}
	var leases []Lease
	var worst finding
	peer := attrs.PublicIP
	for _, subnet := range subnets {
		l := Lease{Family: netstate.FamilyOf(subnet.Addr()), Subnet: subnet, BackendType: attrs.BackendType}
		f := attrs.read(&l, name)
		if f.outcome == absent {
			return nil, []Skipped{{Node: name, Reason: f.reason}}
		}
		worst = worst.worse(f)
		leases = append(leases, l)
	}
	for i := range leases {
		leases[i].Peer, leases[i].Malformed = cmp.Or(peer, name), worst.reason
	}
	return leases, nil
}

// malformedKey keeps the subnets, which somebody uses, as unknown leases.
func malformedKey(name string, subnets []netip.Prefix, reason string) ([]Lease, []Skipped) {
	var leases []Lease
	for _, s := range subnets {
		leases = append(leases, Lease{Peer: name, Family: netstate.FamilyOf(s.Addr()), Subnet: s, Malformed: reason})
	}
	return leases, nil
}

// read reads what a value says of one family.
func (a *leaseAttrs) read(l *Lease, key string) finding {
	ip, field, data := a.PublicIP, "BackendData", a.BackendData
	if l.Family == netstate.IPv6 {
		ip, field, data = "", "BackendV6Data", a.BackendV6Data
		if a.PublicIPv6 != nil {
			ip = *a.PublicIPv6
		}
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" || netstate.FamilyOf(addr.Unmap()) != l.Family || addr.IsUnspecified() {
		return found(malformed, "key %s has the public IP %s, which is no %s address of a node", key, quote(ip), ipVersion(l.Family))
	}
	l.PublicIP = addr.Unmap()
	where := field + " of key " + key
	read := readerOf(l.BackendType)
	if read == nil {
		return finding{}
	}
	switch string(data) {
	case "":
		return found(malformed, "%s is not there", where)
	case "null":
		return found(empty, "%s is null: it names no peer of the backend %s", where, l.BackendType)
	}
	return read(l, where, string(data))
}

// parseSubnetKey reads "10.1.2.0-24" and "10.1.2.0-24&fc00:10:1:2::-64".
func parseSubnetKey(key string) ([]netip.Prefix, error) {
	ipv4, ipv6, both := strings.Cut(key, "&")
	parts := []string{ipv4}
	if both {
		parts = append(parts, ipv6)
	}
	var subnets []netip.Prefix
	for i, part := range parts {
		addr, bits, ok := strings.Cut(part, "-")
		a, err := netip.ParseAddr(addr)
		n, err2 := strconv.ParseUint(bits, 10, 8)
		if !ok || err != nil || err2 != nil || a.Is4() != (i == 0) || a.Zone() != "" || a.Is4In6() {
			return nil, fmt.Errorf("the key is %s: expected one like 10.1.2.0-24 or 10.1.2.0-24&fc00:10:1:2::-64", quote(key))
		}
		p, err := a.Prefix(int(n))
		if err != nil {
			return nil, fmt.Errorf("the key is %s: %w", quote(key), err)
		}
		subnets = append(subnets, p)
	}
	return subnets, nil
}
