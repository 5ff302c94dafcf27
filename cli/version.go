package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"routewatch/shared/wire"
)

func versionCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version",
		Description: "Prints the version of this program and of the API that it speaks.",
		Action:      func(*cli.Context) error { return printVersion(sys.stdout) },
	}
}

// printVersion prints what the go command stamped into the binary.
func printVersion(w io.Writer) error {
	version, revision := "(devel)", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			version = info.Main.Version
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value
			}
		}
	}
	return write(w, fmt.Sprintf("routewatch %s (revision %s, %s, %s/%s), API %s\n",
		version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH, wire.APIVersion))
}
