//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"
)

// reread is how often the stand-in for flannel looks at the lease file.
const reread = 200 * time.Millisecond

// stay keeps the lab up until ctx ends, and says what to do with it.
func (p *play) stay(ctx context.Context) error {
	p.line(p.manual())
	return p.follow(ctx)
}

// follow hands the lease file to the stand-in for flannel whenever it changes.
func (p *play) follow(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			p.line("\nTaking everything down.")
			return nil
		case <-time.After(reread):
		}
		now, err := os.ReadFile(p.leaseFile())
		if err != nil || bytes.Equal(now, p.programmed) {
			continue // an editor may be about to rename the new one into place
		}
		if err := p.programLeases(); err != nil {
			p.line("The stand-in for flannel keeps what it had: " + err.Error())
		}
	}
}

func (p *play) manual() string {
	var b bytes.Buffer
	entry := func(key, text string) { fmt.Fprintf(&b, "  %-10s %s\n", key, text) }
	b.WriteString("\nThe nodes stay up; Ctrl-C takes everything down. Exporters and network namespaces:\n\n")
	for _, n := range p.nodes {
		entry(n.Name, n.exporter.url+"   "+n.NS.Path())
	}
	url := p.one.exporter.url
	entry("watch it", p.programs.cli+" status --watch --exporter "+url)
	entry("metrics", "curl -s "+url+"/metrics | grep ^routewatch_")
	entry("leases", p.leaseFile()+" (remove a node or change a MAC: the stand-in follows, as flannel does)")
	entry("go inside", enterCommand(p.one.NS.Path()))
	b.WriteString("\nand break it there, for example:\n")
	for _, c := range []string{
		"ip link set flannel.1 down; ip link set flannel.1 up",
		"ip addr flush dev flannel.1",
		"ip route add 10.244.3.128/25 via 192.168.1.1",
		"ip rule add to 10.244.3.0/24 lookup 100 pref 100; ip route add default via 192.168.1.1 table 100",
		"ip neigh del 10.244.3.0 dev flannel.1",
		"ip route add blackhole 192.168.1.58",
	} {
		b.WriteString("  # " + c + "\n")
	}
	return b.String()
}

// enterCommand is what enters a namespace from a shell of the user who started
// the lab. An ordinary user enters the lab's user namespace as well.
func enterCommand(path string) string {
	if inInitialUserNamespace() {
		return "nsenter --net=" + path
	}
	return fmt.Sprintf("nsenter --target %d --user --preserve-credentials --net=%s", os.Getpid(), path)
}

// inInitialUserNamespace: only there all user ids are mapped.
func inInitialUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && string(bytes.Join(bytes.Fields(b), []byte(" "))) == "0 0 4294967295"
}
