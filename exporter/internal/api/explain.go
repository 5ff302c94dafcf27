package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
)

// explain answers what is known of an address.
func (h handler) explain(w http.ResponseWriter, r *http.Request) {
	address, err := parseAddress(r)
	if err != nil {
		Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	reply(w, http.StatusOK, "application/json", h.Explain(r.Context(), address))
}

func parseAddress(r *http.Request) (netip.Addr, error) {
	values, err := parameters(r, "address")
	if err != nil {
		return netip.Addr{}, err
	}
	s, given, err := single(values, "address")
	if err != nil {
		return netip.Addr{}, err
	}
	if !given {
		return netip.Addr{}, errors.New("address is missing: expected ?address= with the IP address of a pod or node, e.g. 10.244.2.7")
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf(
			"address is %q: expected an IPv4 or IPv6 address without a prefix length or a zone, e.g. 10.244.2.7 or fd00:10:244::7", s)
	}
	return a.Unmap(), nil
}
