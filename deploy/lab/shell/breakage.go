//go:build linux

package shell

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
)

// Run types a command: to the real program where the machine has it, else to
// the lab's own shell.
func Run(ns *netns.NS, command string) error {
	words := strings.Fields(command)
	if len(words) == 0 {
		return errors.New("there is no command")
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return Type(ns, command)
	}
	return ns.Do(func() error {
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return nil
	})
}

// breakage does what routewatch never prints. done is false for a command that
// is not one of these.
func breakage(ns *netns.NS, words []string) (done bool, err error) {
	is := func(pattern string) bool { return matches(words, strings.Fields(pattern)) }
	switch {
	case is("ip link set * down"):
		return true, ns.SetDown(words[3])
	case is("ip link del *"):
		return true, ns.DelLink(words[3])
	case is("ip link add * type bridge"):
		return true, ns.AddBridge(words[3])
	case is("ip link set * mtu *"):
		mtu, err := strconv.Atoi(words[5])
		return true, errors.Join(err, ns.SetMTU(words[3], mtu))
	case is("ip address add * dev *"), is("ip address del * dev *"):
		return true, address(ns, words[2], words[3], words[5])
	case is("sysctl -w *"):
		return true, sysctl(ns, words[2])
	case is("ip nexthop del id *"):
		id, err := strconv.ParseUint(words[4], 10, 32)
		return true, errors.Join(err, ns.NextHopDel(uint32(id)))
	case len(words) > 3 && matches(words[:3], []string{"ip", "nexthop", "add"}):
		return true, nextHop(ns, words[3:])
	case len(words) > 3 && matches(words[:3], []string{"ip", "route", "add"}):
		return true, addRoute(ns, words)
	case len(words) > 3 && matches(words[:2], []string{"ip", "rule"}):
		return true, rule(ns, words[2], words[3:])
	}
	return false, nil
}

// matches compares word by word; * stands for any.
func matches(words, pattern []string) bool {
	if len(words) != len(pattern) {
		return false
	}
	for i, p := range pattern {
		if p != "*" && p != words[i] {
			return false
		}
	}
	return true
}

func address(ns *netns.NS, verb, prefix, device string) error {
	p, err := netip.ParsePrefix(prefix)
	if err != nil {
		return err
	}
	if verb == "add" {
		return ns.AddAddr(device, p)
	}
	return ns.DelAddr(device, p)
}

func sysctl(ns *netns.NS, assignment string) error {
	name, value, ok := strings.Cut(assignment, "=")
	if !ok {
		return fmt.Errorf("%q: expected NAME=VALUE", assignment)
	}
	return ns.Sysctl(name, value)
}

// addRoute is ip route add, with nhid besides what a replace of routewatch's has.
func addRoute(ns *netns.NS, words []string) error {
	if matches(words, strings.Fields("ip route add * nhid *")) {
		dst, err := netip.ParsePrefix(words[3])
		id, err2 := strconv.ParseUint(words[5], 10, 32)
		return errors.Join(err, err2, ns.RouteAdd(netstate.Route{Dst: dst, NextHopID: uint32(id)}))
	}
	step, err := mend.Parse("ip route replace " + strings.Join(words[3:], " "))
	if err != nil {
		return err
	}
	route := netstate.Route{
		Dst: step.Prefix, Type: step.Type, Gateway: step.Gateway, OnLink: step.OnLink, Priority: step.Priority, Table: step.Table,
	}
	if step.Device != "" {
		if route.Device, err = ns.LinkIndex(step.Device); err != nil {
			return err
		}
	}
	return ns.RouteAdd(route)
}

// nextHop is ip nexthop add id N via ADDRESS dev DEVICE [onlink].
func nextHop(ns *netns.NS, words []string) error {
	if len(words) < 6 || !matches(words[:6], strings.Fields("id * via * dev *")) {
		return fmt.Errorf("%q: expected id N via ADDRESS dev DEVICE [onlink]", words)
	}
	id, err := strconv.ParseUint(words[1], 10, 32)
	if err != nil {
		return err
	}
	gateway, err := netip.ParseAddr(words[3])
	if err != nil {
		return err
	}
	index, err := ns.LinkIndex(words[5])
	if err != nil {
		return err
	}
	onlink := len(words) == 7 && words[6] == "onlink"
	return ns.NextHopReplace(netns.NextHop{
		ID: uint32(id), Family: netstate.FamilyOf(gateway), Gateway: gateway, Device: index, OnLink: onlink,
	})
}

// rule is ip rule add|del [from all] [to PREFIX] [fwmark MARK] lookup TABLE|unreachable pref N,
// of IPv4 unless a prefix says otherwise.
func rule(ns *netns.NS, verb string, words []string) error {
	r := netstate.Rule{Family: netstate.IPv4}
	for len(words) > 1 {
		var err error
		var n uint64
		name, value := words[0], words[1]
		switch name {
		case "unreachable":
			r.Action, words = unix.FR_ACT_UNREACHABLE, words[1:]
			continue
		case "from":
		case "to":
			r.Dst, err = netip.ParsePrefix(value)
			r.Family = netstate.FamilyOf(r.Dst.Addr())
		case "fwmark":
			n, err = strconv.ParseUint(value, 0, 32)
			r.Mark = uint32(n)
		case "lookup":
			r.Table, err = tableOf(value)
		case "pref":
			n, err = strconv.ParseUint(value, 10, 32)
			r.Priority = uint32(n)
		default:
			err = fmt.Errorf("%q: not known to the lab", name)
		}
		if err != nil {
			return err
		}
		words = words[2:]
	}
	if verb == "del" {
		return ns.RuleDel(r)
	}
	return ns.RuleAdd(r)
}

func tableOf(name string) (uint32, error) {
	switch name {
	case "main":
		return netstate.TableMain, nil
	case "default":
		return netstate.TableDefault, nil
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return uint32(n), err
}
