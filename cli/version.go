package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/prometheus/common/version"
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

// printVersion prints what the linker stamped into the binary, the same as
// into the exporter.
func printVersion(w io.Writer) error {
	return write(w, fmt.Sprintf("routewatch %s (revision %s, %s, %s/%s), API %s\n",
		cmp.Or(version.Version, "(devel)"), version.GetRevision(), version.GoVersion, version.GoOS, version.GoArch, wire.APIVersion))
}
