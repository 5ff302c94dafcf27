package kernel

import (
	"fmt"
	"net/netip"

	"routewatch/exporter/internal/enter"
)

// Addresses returns the addresses of all devices of a network namespace, "" for
// that of this process.
func Addresses(netns string) ([]netip.Addr, error) {
	file, err := enter.Open(netns)
	if err != nil {
		return nil, err
	}
	if file != nil {
		defer file.Close()
	}
	req, err := dialRequests(file)
	if err != nil {
		return nil, err
	}
	defer req.close()
	addrs, err := req.addrs()
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	all := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		all = append(all, a.Prefix.Addr())
	}
	return all, nil
}
