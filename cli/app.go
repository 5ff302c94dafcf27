package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/render"
)

// Exit codes of every command; 0, 1 and 2 are the outcomes of shared/wire.
const (
	exitOK         = 0
	exitCannotTell = 2 // also of every error that is not one of usage
	exitUsage      = 3
)

const generalHelp = "routewatch help"

// system is what a program touches outside itself.
type system struct {
	stdout, stderr io.Writer
	now            func() time.Time
	poll           time.Duration // between two questions of --watch
	plugin         bool          // kubectl runs the program
}

// exitCode ends the program with a code and without a word: the command has
// said everything.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// usageError is a mistake in what was typed, and the help to read.
type usageError struct{ text, help string }

func (e usageError) Error() string { return e.text + "; see: " + e.help }

// usagef returns a usageError; the command that it comes from adds its help.
func usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...), generalHelp}
}

// run executes the program and returns its exit code. It is the only place
// that prints errors. Ctrl-C stops at once, and a second one kills.
func run(args []string, sys system) int {
	sys.plugin = isPlugin(args[0])
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)

	app := newApp(sys)
	var err error
	if words, asked := toComplete(args); asked {
		err = complete(app, words, sys)
	} else {
		err = app.RunContext(ctx, arrange(app, args))
	}
	var (
		code  exitCode
		usage usageError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	}
	// Nothing can be done where even this cannot be written; the code still says it.
	_, _ = fmt.Fprintln(sys.stderr, "routewatch: "+render.Clean(err.Error()))
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitCannotTell
}

// newApp puts the commands together and tames urfave/cli v2 once for all of
// them: usage errors and help that nobody asked for go to standard error with
// exit code 3, the library never exits by itself, an unknown command or a
// superfluous argument is an error, "-v" and "h" mean nothing.
func newApp(sys system) *cli.App {
	app := &cli.App{
		Name:                      "routewatch",
		HelpName:                  "routewatch",
		Usage:                     "are the kernel's routes what flannel's leases need?",
		CustomAppHelpTemplate:     appHelp,
		Writer:                    sys.stdout,
		ErrWriter:                 sys.stderr,
		HideVersion:               true, // it would take -v; --version is ours
		HideHelpCommand:           true, // it would ignore unknown topics; help is ours
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides
		OnUsageError:              explainUsage,
		Flags: []cli.Flag{
			cli.HelpFlag, // not added where there is a command "help"
			&cli.BoolFlag{Name: "version", Usage: "print the version", DisableDefaultText: true},
		},
		Commands: []*cli.Command{
			statusCommand(sys), diagnoseCommand(sys), explainCommand(sys), matrixCommand(sys), diffCommand(sys),
			leasesCommand(sys), eventsCommand(sys), runbookCommand(sys),
			replayCommand(sys), waitCommand(sys), checkCommand(sys), bundleCommand(sys),
			completionCommand(sys), versionCommand(sys), helpCommand(sys),
		},
	}
	app.Action = func(c *cli.Context) error { return withoutCommand(c, sys) }
	for _, command := range app.Commands {
		command.HideHelpCommand = true // else "status help" would be a command
		command.OnUsageError = explainUsage
		command.CustomHelpTemplate = commandHelp
		command.Action = strict(command)
	}
	return app
}

// withoutCommand is what the bare program does. It is an error, since a script
// that lost its command must not read exit code 0 as "healthy".
func withoutCommand(c *cli.Context, sys system) error {
	if c.NArg() > 0 {
		return unknownCommand(c.App, c.Args().First())
	}
	if c.Bool("version") {
		return printVersion(sys.stdout)
	}
	c.App.Writer = sys.stderr
	if err := cli.ShowAppHelp(c); err != nil {
		return err
	}
	return exitCode(exitUsage)
}

func unknownCommand(app *cli.App, name string) error {
	var names []string
	for _, command := range app.Commands {
		names = append(names, command.Name)
	}
	return usagef("unknown command %q%s", name, didYouMean(name, names))
}

// strict wraps the action of a command: one without an ArgsUsage takes no
// arguments, and a mistake of usage names the help of the command.
func strict(command *cli.Command) cli.ActionFunc {
	action := command.Action
	return func(c *cli.Context) error {
		var err error
		if command.ArgsUsage == "" && c.NArg() > 0 {
			err = usagef("unexpected argument %q: %s takes none", c.Args().First(), command.Name)
		} else {
			err = action(c)
		}
		return withHelp(err, command.Name)
	}
}

// withHelp lets a usageError name the help of a command.
func withHelp(err error, command string) error {
	if usage := (usageError{}); errors.As(err, &usage) && command != "help" {
		usage.help = generalHelp + " " + command
		return usage
	}
	return err
}
