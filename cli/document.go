package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

	"routewatch/cli/internal/render"
)

// printer is what every command that prints a document of an exporter has.
type printer struct {
	fleet  *fleet
	format format
	color  bool
	screen terminal
	sys    system
}

func newPrinter(c *cli.Context, sys system) (p printer, err error) {
	if p, err = newPagePrinter(c, sys); err != nil {
		return p, err
	}
	p.fleet, err = newFleet(c, sys)
	return p, err
}

// newPagePrinter makes a printer that has no exporter to ask.
func newPagePrinter(c *cli.Context, sys system) (p printer, err error) {
	p.screen, p.sys = terminalOf(sys.stdout), sys
	if p.format, err = outputFormat(c); err != nil {
		return p, err
	}
	p.color, err = useColor(c, p.screen)
	return p, err
}

// options to render for a person. at is the exporter's clock, by which ages are
// reckoned, since the two may differ; zero where it did not tell it.
func (p *printer) options(at time.Time) render.Options {
	if at.IsZero() {
		at = p.sys.now()
	}
	columns, _ := p.screen.size()
	return render.Options{Wide: p.format == formatWide, Width: columns, Style: render.Style{Color: p.color}, Now: at}
}

// command is what to type for another question to the same exporters, without
// a format.
func (p *printer) command(words string) string {
	program := "routewatch "
	if p.sys.plugin {
		program = "kubectl routewatch "
	}
	return program + words + p.fleet.flags
}

// encode formats a document that was made here.
func (p *printer) encode(document any) (string, error) {
	raw, err := json.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("format the answer: %w", err)
	}
	return p.document(raw)
}

// document formats a document as the exporter sent it.
func (p *printer) document(raw []byte) (string, error) {
	if p.format == formatYAML {
		out, err := yaml.JSONToYAML(raw)
		if err != nil {
			return "", fmt.Errorf("format the answer as YAML: %w; try: -o json", err)
		}
		return string(out), nil
	}
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(raw), "", "  "); err != nil {
		return "", fmt.Errorf("format the answer: %w", err)
	}
	return out.String() + "\n", nil
}
