package main

import (
	"github.com/urfave/cli/v2"
)

const appHelp = `routewatch - {{.Usage}}

Usage:
  routewatch COMMAND [flags]

Commands:{{range .VisibleCommands}}
  {{.Name}}{{"\t"}}{{.Usage}}{{end}}

See: routewatch help COMMAND
`

const commandHelp = `{{.Description}}

Usage:
  {{.HelpName}}{{if .VisibleFlags}} [flags]{{end}}{{if .ArgsUsage}} {{.ArgsUsage}}{{end}}
{{if .VisibleFlags}}
Flags:{{range .VisibleFlags}}
  {{.}}{{end}}
{{end}}`

func helpCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "help",
		Usage:       "explain a command",
		ArgsUsage:   "[COMMAND]",
		Description: "Explains a command, or lists all of them.",
		Action: func(c *cli.Context) error {
			c.App.Writer = sys.stdout
			switch {
			case c.NArg() == 0:
				return cli.ShowAppHelp(c)
			case c.NArg() > 1:
				return usagef("unexpected argument %q: help explains one command", c.Args().Get(1))
			case c.App.Command(c.Args().First()) == nil:
				return unknownCommand(c.App, c.Args().First())
			}
			return cli.ShowCommandHelp(c, c.Args().First())
		},
	}
}
