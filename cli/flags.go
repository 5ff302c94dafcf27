package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/cluster"
)

const defaultExporter = "http://127.0.0.1:" + client.Port

// exporterFlags are the flags of every command that asks exporters. Flags of
// the app itself would not be accepted behind a command.
func exporterFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.DurationFlag{Name: "timeout", EnvVars: []string{"ROUTEWATCH_TIMEOUT"}, Value: askTimeout,
			Usage: "wait at most this `DURATION` for each answer"},
	}, whomFlags()...)
}

// whomFlags say which exporters are asked.
func whomFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "exporter", EnvVars: []string{"ROUTEWATCH_EXPORTER"},
			Usage: "ask the exporter at this `URL`, or host or host:port; can be given again (default " + defaultExporter + ")"},
		&cli.BoolFlag{Name: "cluster", DisableDefaultText: true,
			Usage: "ask all exporters of the cluster, through the API server (default where no exporter is on this machine)"},
		&cli.StringFlag{Name: "node", Usage: "of the cluster, ask only the exporter of node `NAME`"},
		&cli.StringFlag{Name: "kubeconfig", Usage: "find the cluster by this `FILE` (default $KUBECONFIG, then ~/.kube/config)"},
		&cli.StringFlag{Name: "context", Usage: "use this `CONTEXT` of the kubeconfig"},
		&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, EnvVars: []string{"ROUTEWATCH_NAMESPACE"}, Value: cluster.DefaultNamespace,
			Usage: "the exporters are in this `NAMESPACE`"},
		&cli.StringFlag{Name: "selector", Aliases: []string{"l"}, EnvVars: []string{"ROUTEWATCH_SELECTOR"}, Value: cluster.DefaultSelector,
			Usage: "the exporters' pods have these `LABELS`"},
		&cli.StringFlag{Name: "ca-file", EnvVars: []string{"ROUTEWATCH_CA_FILE"}, Usage: "trust the authorities in `FILE` for --exporter"},
		&cli.StringFlag{Name: "cert-file", EnvVars: []string{"ROUTEWATCH_CERT_FILE"}, Usage: "present the certificate in `FILE` to --exporter"},
		&cli.StringFlag{Name: "key-file", EnvVars: []string{"ROUTEWATCH_KEY_FILE"}, Usage: "whose key is in `FILE`"},
		&cli.StringFlag{Name: "token-file", EnvVars: []string{"ROUTEWATCH_TOKEN_FILE"}, Usage: "send the bearer token in `FILE` to --exporter"},
	}
}

// timeoutOf is the value of --timeout.
func timeoutOf(c *cli.Context) (time.Duration, error) {
	timeout := c.Duration("timeout")
	if timeout <= 0 {
		return 0, usagef("--timeout %v: expected more than 0, for example 5s", timeout)
	}
	return timeout, nil
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

// noHeaders is a flag of the commands that print one table.
func noHeaders() cli.Flag {
	return &cli.BoolFlag{Name: "no-headers", DisableDefaultText: true, Usage: "only the rows"}
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
