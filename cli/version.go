package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/common/version"
	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/cluster"
	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

const versionHelp = `Prints the version of this program and of the API that it speaks, then those of
the exporters, and says where they differ. It asks whom status asks; where no
exporter is on this machine and no kubeconfig is known, nobody.

Examples:
  routewatch version
  routewatch version --cluster       the exporters of all nodes
  routewatch version --client        this program alone; needs no network
  routewatch version -o json         for programs

Exit codes:
  0  everybody who was asked answered, whatever the versions are
  2  an exporter, or the API server, did not answer
  3  usage`

func versionCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "the versions of this program and of the exporters",
		Description: versionHelp,
		Flags: append(append(outputFlags(),
			&cli.BoolFlag{Name: "client", DisableDefaultText: true, Usage: "only of this program"},
		), exporterFlags()...),
		Action: func(c *cli.Context) error {
			p, err := newPagePrinter(c, sys)
			if err != nil {
				return err
			}
			if _, err := timeoutOf(c); err != nil {
				return err
			}
			return p.versions(c)
		},
	}
}

// versions prints our own version in any case: who asks for it may do so since
// the exporters do not answer.
func (p *printer) versions(c *cli.Context) error {
	var asked gathered[*client.Status]
	var err error
	alone := c.Bool("client")
	switch {
	case alone:
	case nobodyToAsk(c, p.sys):
		alone = true
		err = write(p.sys.stderr, "routewatch: no exporter listens on this machine, and no kubeconfig is known; "+
			"ask one: routewatch version --exporter http://NODE:"+client.Port+"\n")
	default:
		asked, err = p.askVersions(c)
	}
	if usage := (usageError{}); errors.As(err, &usage) {
		return err
	}
	doc := versionsOf(&asked, p.sys)
	if err != nil {
		doc.Problem = err.Error()
	}
	if printed := p.printVersions(&doc); printed != nil {
		return printed
	}
	if alone || err != nil {
		return err
	}
	return asked.complain(p)
}

func versionsOf(asked *gathered[*client.Status], sys system) wire.Versions {
	doc := wire.Versions{
		APIVersion: wire.APIVersion, Kind: wire.KindVersions, Time: sys.now().UTC(), Client: build(),
		Items: []wire.ExporterVersion{}, Unreachable: append([]wire.Unreachable{}, asked.unreachable...), Problem: asked.problem,
	}
	for _, a := range asked.answers {
		doc.Items = append(doc.Items, wire.ExporterVersion{Node: a.node, Exporter: a.client.Where(), Version: a.value.Document.Version})
	}
	return doc
}

func (p *printer) printVersions(doc *wire.Versions) error {
	if !p.format.isText() {
		text, err := p.encode(doc)
		if err != nil {
			return err
		}
		return write(p.sys.stdout, text)
	}
	if err := printVersion(p.sys.stdout); err != nil || len(doc.Items) == 0 {
		return err
	}
	return write(p.sys.stdout, render.Versions(doc, p.options(doc.Time)))
}

func (p *printer) askVersions(c *cli.Context) (asked gathered[*client.Status], err error) {
	if p.fleet, err = newFleet(c, p.sys); err != nil {
		return asked, err
	}
	s, err := p.fleet.statuses(c.Context, p.sys, false)
	return s.gathered, err
}

// nobodyToAsk reports whether nothing says whom to ask: no flag, no variable, no
// exporter on this machine and no kubeconfig.
func nobodyToAsk(c *cli.Context, sys system) bool {
	return exporters(c) == nil && asksCluster(c) == "" && !sys.plugin && !listens(c.Context) && !cluster.Known()
}

// build is what the linker stamped into the binary, the same as into the exporter.
func build() wire.Build {
	return wire.Build{
		Version: cmp.Or(version.Version, "(devel)"), Revision: version.GetRevision(),
		Go: version.GoVersion, Platform: version.GoOS + "/" + version.GoArch,
	}
}

// printVersion prints it in one line.
func printVersion(w io.Writer) error {
	b := build()
	return write(w, fmt.Sprintf("routewatch %s (revision %s, %s, %s), API %s\n", b.Version, b.Revision, b.Go, b.Platform, wire.APIVersion))
}
