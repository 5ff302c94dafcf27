// Command routewatch asks the exporter of a node how flannel's routes are and
// tells a person on call what is broken, since when, why and what to type.
package main

import (
	"os"
	"time"
)

func main() {
	os.Exit(run(os.Args, system{stdout: os.Stdout, stderr: os.Stderr, now: time.Now, poll: time.Second}))
}
