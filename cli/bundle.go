package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/render"
)

const bundleHelp = `Writes what a ticket needs into one file: of each node that is asked its status,
leases, events and metrics; of a cluster also what the Nodes say of flannel, and
flannel's pods with the end of their logs. A README.txt in it says what is what.

Passwords, tokens and private keys are taken out as far as they can be told from
other words. Names and addresses of nodes and pods are in it, so look into it
before you give it away.

Examples:
  routewatch bundle                          this node; or where no exporter is, all
  routewatch bundle --cluster                all nodes, by the kubeconfig
  routewatch bundle --node node-2            one of them
  routewatch bundle -f - | ssh me@desk tee bundle.tar.gz > /dev/null

Exit codes:
  0  everything is in it
  2  something could not be got (errors.txt in it says what), or nothing was written
  3  usage`

func bundleCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "bundle",
		Usage:       "all that a ticket needs, in one file, without secrets",
		Description: bundleHelp,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "file", Aliases: []string{"f"},
				Usage: "write into `FILE`, which must not be there yet; - is standard output (default routewatch-TIME.tar.gz)"},
		}, exporterFlags()...),
		Action: func(c *cli.Context) error {
			name := "routewatch-" + sys.now().UTC().Format("20060102T150405Z")
			out, err := newTarget(c.String("file"), name+".tar.gz", sys)
			if err != nil {
				return err
			}
			defer out.discard()
			f, err := newFleet(c, sys)
			if err != nil {
				return err
			}
			b := &bundle{fleet: f, sys: sys, archive: newArchive(out, name, sys.now())}
			if err := b.fill(c.Context); err != nil {
				return err
			}
			if err := out.keep(); err != nil {
				return err
			}
			return b.report(out)
		},
	}
}

// report says what was written, and what was not.
func (b *bundle) report(out *target) error {
	nodes := fmt.Sprintf("%d of %d nodes", b.nodes, b.nodes+b.mute)
	text := fmt.Sprintf("routewatch: wrote %s (%s), with %s; secrets taken out: %d\n", out, size(out.written), nodes, b.archive.hidden)
	for i, line := range b.missing {
		if i == maxSaid {
			text += fmt.Sprintf("routewatch: and %d more, see errors.txt in it\n", len(b.missing)-i)
			break
		}
		text += "routewatch: not in it: " + render.Clean(line) + "\n"
	}
	if out.temp != nil {
		text += fmt.Sprintf("routewatch: look into it before you give it away: tar -xzOf %s | less\n", out)
	}
	if err := write(b.sys.stderr, text); err != nil {
		return err
	}
	if len(b.missing) > 0 {
		return exitCode(exitCannotTell)
	}
	return nil
}

// maxSaid is how many lines are said of what is missing.
const maxSaid = 5

func size(n int) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// target is where a bundle goes: standard output, or a file, which has its name
// only once it is whole.
type target struct {
	to      io.Writer
	path    string
	temp    *os.File // nil: standard output
	written int
}

func newTarget(path, otherwise string, sys system) (*target, error) {
	switch {
	case path == "-" && terminalOf(sys.stdout).is():
		return nil, usagef("--file -: a bundle is not for a terminal: send it on, or name a file")
	case path == "-":
		return &target{to: sys.stdout}, nil
	case path == "":
		path = otherwise
	}
	t := &target{path: path}
	if err := t.free(); err != nil {
		return nil, err
	}
	var err error
	if t.temp, err = os.CreateTemp(filepath.Dir(path), ".routewatch-*.part"); err != nil {
		return nil, fmt.Errorf("%w; name a file elsewhere: routewatch bundle --file FILE", err)
	}
	t.to = t.temp
	return t, nil
}

// free is an error if there is something with the name.
func (t *target) free() error {
	if _, err := os.Lstat(t.path); err == nil {
		return usagef("--file %s: it is there already: remove it, or name another one", t.path)
	}
	return nil
}

// Write implements io.Writer.
func (t *target) Write(p []byte) (int, error) {
	n, err := t.to.Write(p)
	t.written += n
	return n, err
}

// keep gives the file its name.
func (t *target) keep() error {
	if t.temp == nil {
		return nil
	}
	if err := t.temp.Close(); err != nil {
		return fmt.Errorf("write the bundle: %w; is the disk full?", err)
	}
	if err := t.free(); err != nil {
		return err
	}
	return os.Rename(t.temp.Name(), t.path)
}

// discard removes what was not kept.
func (t *target) discard() {
	if t.temp != nil {
		_ = t.temp.Close()
		_ = os.Remove(t.temp.Name()) // has its name already, unless something failed
	}
}

// String names it.
func (t *target) String() string {
	if t.temp == nil {
		return "a bundle"
	}
	return t.path
}
