package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
)

const defaultExporter = "http://127.0.0.1:" + client.Port

// exporterFlags are the flags of every command that asks an exporter. Flags of
// the app itself would not be accepted behind a command.
func exporterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "exporter", EnvVars: []string{"ROUTEWATCH_EXPORTER"}, Value: defaultExporter,
			Usage: "the exporter's `URL`, or its host or host:port"},
		&cli.DurationFlag{Name: "timeout", EnvVars: []string{"ROUTEWATCH_TIMEOUT"}, Value: 5 * time.Second,
			Usage: "wait at most this `DURATION` for an answer"},
	}
}

// newClient makes the client that the exporterFlags describe.
func newClient(c *cli.Context) (*client.Client, error) {
	timeout := c.Duration("timeout")
	if timeout <= 0 {
		return nil, usagef("--timeout %v: expected more than 0, for example 5s", timeout)
	}
	return clientOf(c.String("exporter"), timeout)
}

func clientOf(address string, timeout time.Duration) (*client.Client, error) {
	if address == "" { // the variable is set, and empty
		address = defaultExporter
	}
	asker, err := client.New(address, timeout)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return asker, nil
}

// outputFlags are the flags of every command that prints a document.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: string(formatTable),
			Usage: "print as `FORMAT` table, wide, json or yaml"},
		&cli.StringFlag{Name: "color", Value: "auto",
			Usage: "color `WHEN` auto (on a terminal, unless NO_COLOR is set), always or never"},
	}
}

// format is a value of --output.
type format string

const (
	formatTable format = "table"
	formatWide  format = "wide"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

// isText reports whether the format is one for people.
func (f format) isText() bool { return f == formatTable || f == formatWide }

func outputFormat(c *cli.Context) (format, error) {
	switch f := format(c.String("output")); f {
	case formatTable, formatWide, formatJSON, formatYAML:
		return f, nil
	default:
		return "", usagef("--output %q: expected table, wide, json or yaml", string(f))
	}
}
