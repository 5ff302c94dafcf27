//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
)

// figures is what one contestant measured in one round, by name. Less is better.
type figures map[string]float64

// contestant does in one round what the scenario is about.
type contestant struct {
	name  string
	round func() (figures, error)
}

// ours is the name of routewatch among the contestants.
const ours = "routewatch"

// errAbsent is for a peer that this machine does not have.
var errAbsent = errors.New("not on this machine")

// scenario is one thing to do, by routewatch and by its peers.
type scenario struct {
	name, about string
	// prepare makes what all rounds need, and returns the contestants, routewatch first.
	prepare func() (all []contestant, release func(), err error)
	// bars are what is asked of routewatch. Every other peer is shown without one.
	bars []bar
}

// bar is a limit for a figure of routewatch's: as a ratio to a peer's, or, with
// no peer, as it is.
type bar struct {
	figure, unit string
	peer         string
	limit        float64
}

// noBar is the limit of a figure without a peer that is only shown.
const noBar = -1

// measure runs the contestants in turns, one process after the other, so that
// what the machine does beside concerns all alike.
func (s scenario) measure(rounds int) ([]Line, error) {
	all, release, err := s.prepare()
	if err != nil {
		return nil, err
	}
	defer release()
	samples := map[string][]figures{}
	for round := range rounds {
		for i := 0; i < len(all); i++ {
			f, err := all[i].round()
			if errors.Is(err, errAbsent) {
				fmt.Printf("  without %s: %v\n", all[i].name, err)
				all = slices.Delete(all, i, i+1)
				i--
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", round+1, all[i].name, err)
			}
			samples[all[i].name] = append(samples[all[i].name], f)
		}
	}
	var lines []Line
	for _, b := range s.bars {
		if b.peer == "" {
			lines = append(lines, s.line(b, samples[ours], nil))
		}
		for _, c := range all {
			if c.name == b.peer {
				lines = append(lines, s.line(b, samples[ours], samples[c.name]))
			}
		}
	}
	return append(lines, s.rest(all, samples)...), nil
}

// rest are the ratios that nothing is asked of.
func (s scenario) rest(all []contestant, samples map[string][]figures) []Line {
	var lines []Line
	for _, figure := range s.figures() {
		for _, c := range all {
			asked := slices.ContainsFunc(s.bars, func(b bar) bool { return b.figure == figure.figure && b.peer == c.name })
			if _, has := samples[c.name][0][figure.figure]; c.name != ours && has && !asked {
				lines = append(lines, s.line(bar{figure: figure.figure, unit: figure.unit, peer: c.name}, samples[ours], samples[c.name]))
			}
		}
	}
	return lines
}

// figures are those that are compared with peers.
func (s scenario) figures() []bar {
	var all []bar
	for _, b := range s.bars {
		if b.peer != "" && !slices.ContainsFunc(all, func(o bar) bool { return o.figure == b.figure }) {
			all = append(all, b)
		}
	}
	return all
}

func (s scenario) line(b bar, own, peer []figures) Line {
	l := Line{Scenario: s.name, Figure: b.figure, Unit: b.unit, Peer: b.peer, Limit: b.limit}
	var ratios []float64
	for i, f := range own {
		l.Own = append(l.Own, f[b.figure])
		if peer == nil {
			ratios = append(ratios, f[b.figure])
			continue
		}
		l.Its = append(l.Its, peer[i][b.figure])
		ratios = append(ratios, f[b.figure]/peer[i][b.figure])
	}
	slices.Sort(ratios)
	l.Value, l.Low, l.High = median(ratios), ratios[0], ratios[len(ratios)-1]
	return l
}

// median is the middle of a sorted list.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

func medianOf(values []float64) float64 { return median(slices.Sorted(slices.Values(values))) }
