//go:build linux

// Package shell types commands on a node of the lab without ip(8) or bridge(8)
// being there: it knows those that routewatch prints.
package shell

import (
	"fmt"
	"strings"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
)

// Type does in a namespace what a person would who typed the command there.
// It knows the commands that routewatch prints, and those that break a node in
// the lab's stories.
func Type(ns *netns.NS, command string) error {
	if done, err := breakage(ns, strings.Fields(command)); done {
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		return nil
	}
	step, err := mend.Parse(command)
	if err != nil {
		return err
	}
	if err := apply(ns, step); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func apply(ns *netns.NS, s mend.Step) error {
	var index int
	if s.Device != "" {
		var err error
		if index, err = ns.LinkIndex(s.Device); err != nil {
			return err
		}
	}
	route := netstate.Route{
		Dst: s.Prefix, Type: s.Type, Gateway: s.Gateway, OnLink: s.OnLink, Priority: s.Priority, Table: s.Table, Device: index,
	}
	neighbor := netstate.Neighbor{Device: index, IP: s.IP, MAC: s.MAC}
	entry := netstate.FDBEntry{Device: index, MAC: s.MAC, Dst: s.Dst}
	switch s.Verb {
	case mend.RouteReplace:
		return ns.RouteReplace(route)
	case mend.RouteDelete:
		return ns.RouteDel(route)
	case mend.NeighborReplace:
		return ns.NeighReplace(neighbor)
	case mend.NeighborDelete:
		return ns.NeighDel(neighbor)
	case mend.FDBReplace:
		return ns.FDBReplace(entry)
	case mend.FDBDelete:
		return ns.FDBDel(entry)
	case mend.LinkUp:
		return ns.SetUp(s.Device)
	case mend.LinkAddress:
		return ns.SetMAC(s.Device, s.MAC)
	case mend.AddressReplace:
		return ns.AddAddr(s.Device, s.Prefix)
	case mend.AddressDelete:
		return ns.DelAddr(s.Device, s.Prefix)
	case mend.RuleAdd:
		return ns.RuleAdd(netstate.Rule{
			Family: netstate.FamilyOf(s.Prefix.Addr()), Priority: s.Priority, Dst: s.Prefix, Table: netstate.TableMain,
		})
	}
	return fmt.Errorf("%q: the lab cannot do that", s.Verb)
}
