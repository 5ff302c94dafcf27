//go:build linux

// Command routewatch-lab runs Kubernetes nodes as network namespaces on this
// machine, with real vxlan devices, a stand-in for flannel and one real
// routewatch-exporter each. It needs neither root nor any other tool.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"routewatch/deploy/lab/netns"
)

const usage = `usage: routewatch-lab demo

demo  brings up four nodes, breaks one, shows what routewatch finds, and mends
      it with the advice that routewatch prints. In a terminal the nodes then
      stay up to play with, until Ctrl-C. Exits with 1 if anything that it
      shows is not as it must be.
`

func main() {
	// A child is killed when the thread that started it ends; the main
	// goroutine starts all children and stays on its thread to the end.
	runtime.LockOSThread()
	os.Exit(run(os.Args[1:]))
}

// run returns the exit code: 0 shown, 1 not shown, 3 usage.
func run(args []string) int {
	switch {
	case len(args) == 1 && args[0] == "demo":
	case len(args) == 2 && args[0] == sweepCommand:
		return sweep(os.Stdin, args[1])
	case len(args) == 1 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help"):
		fmt.Print(usage)
		return 0
	default:
		fmt.Fprint(os.Stderr, usage)
		return 3
	}
	err := netns.Reexec()
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		err = demo(ctx, os.Stdin, os.Stdout)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "routewatch-lab: interrupted")
	default:
		fmt.Fprintln(os.Stderr, "routewatch-lab:", err)
	}
	return 1
}

// sweepCommand is how the lab starts its sweeper; it is not for people.
const sweepCommand = "sweep"

// sweep removes the lab's directory once the lab is gone, however it went: the
// kernel closes the lab's end of the pipe even after kill -9.
func sweep(lab io.Reader, dir string) int {
	_, _ = io.Copy(io.Discard, lab)
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "routewatch-lab:", err)
		return 1
	}
	return 0
}
