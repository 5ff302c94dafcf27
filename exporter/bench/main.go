//go:build linux

// Command bench measures what routewatch does beside its peers: other ways to
// do the same, each in a process of its own, in the same run, in turns, several
// rounds. What it prints are ratios with their spread, since one machine's
// microseconds say little about another's.
//
// It has a module of its own, so that the peers are not in the product's go.mod.
// It needs root, iproute2, and for one peer a C compiler.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		exit(child(os.Args[2], os.Args[3:]))
	}
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "how often each is measured")
	flag.StringVar(&o.run, "run", "", "`regexp` of the scenarios to run; empty: all")
	flag.StringVar(&o.exporter, "exporter", "", "`path` of a routewatch-exporter, for the scenarios that run it")
	flag.StringVar(&o.out, "out", "", "`file` to write the result to, as JSON")
	flag.StringVar(&o.against, "against", "", "`file` with an earlier result: fail if a ratio got worse by more than the noise")
	flag.StringVar(&o.readme, "readme", "", "`file` to write the table into, between <!-- bench --> and <!-- /bench -->")
	flag.Parse()
	exit(run(o))
}

type options struct {
	rounds                              int
	run, exporter, out, against, readme string
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(o options) error {
	chosen, err := regexp.Compile(o.run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if o.readme != "" && o.run != "" {
		return errors.New("-readme is for all scenarios, without -run: the table would lack the others")
	}
	before, err := readResult(o.against)
	if err != nil {
		return err
	}
	result := Result{Machine: machine()}
	fmt.Println(result.Machine)
	var errs []error
	for _, s := range scenarios(o) {
		if !chosen.MatchString(s.name) {
			continue
		}
		fmt.Printf("\n%s: %s\n", s.name, s.about)
		lines, err := s.measure(o.rounds)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			fmt.Println("  failed:", err)
			continue
		}
		result.Lines = append(result.Lines, lines...)
		for _, l := range lines {
			fmt.Println(" ", l)
		}
	}
	if o.out != "" && errors.Join(errs...) == nil {
		errs = append(errs, result.write(o.out))
	}
	if o.readme != "" && errors.Join(errs...) == nil {
		errs = append(errs, result.writeTable(o.readme))
	}
	errs = append(errs, before.regressions(result, o.run == ""))
	return errors.Join(errs...)
}
