// Routewatch-exporter watches, on one Kubernetes node, that the kernel objects
// which flannel's leases need are really there, and serves what it finds as
// Prometheus metrics and as JSON.
//
// Its exit code is 0 after a clean stop, 2 when it cannot do its work and 3
// when its flags are wrong. With --once it is 0 healthy, 1 problems, 2 cannot
// tell.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/prometheus/common/version"
	"github.com/urfave/cli/v2"

	"routewatch/shared/wire"
)

const (
	program   = "routewatch-exporter"
	exitUsage = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// usageError is an error of whoever started the program.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	outcome := wire.Well
	app := newApp(stdout, stderr, func(c *cli.Context) error {
		var err error
		outcome, err = start(c, stdout, stderr)
		return err
	})
	err := app.RunContext(ctx, args)
	if err == nil {
		return int(outcome)
	}
	message := strings.TrimSpace(err.Error())
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "%s: %s\nType \"%s --help\" for all flags.\n", program, message, program)
		return exitUsage
	}
	fmt.Fprintf(stderr, "%s: %s\n", program, message)
	return int(wire.CannotTell)
}

func newApp(stdout, stderr io.Writer, action cli.ActionFunc) *cli.App {
	return &cli.App{
		Name:            program,
		Usage:           "watch that the kernel has what flannel's leases need",
		UsageText:       program + " [flags]",
		Flags:           flags(),
		HideVersion:     true, // urfave's would also take -v
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		Action:          action,
		ExitErrHandler:  func(*cli.Context, error) {}, // run decides
		OnUsageError:    func(_ *cli.Context, err error, _ bool) error { return usageError{err} },
	}
}

// start does what the flags ask for.
func start(c *cli.Context, stdout, stderr io.Writer) (wire.Outcome, error) {
	if c.Bool(flagVersion) {
		_, err := fmt.Fprintln(stdout, version.Print(program))
		return wire.Well, err
	}
	cfg, err := parse(c, stderr)
	if err != nil {
		return wire.CannotTell, usageError{err}
	}
	if cfg.once {
		return once(c.Context, cfg, stdout, stderr)
	}
	return wire.Well, watch(c.Context, cfg)
}
