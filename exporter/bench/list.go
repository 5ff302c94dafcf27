//go:build linux

package main

// scenarios are all there are, in the order of the table.
func scenarios(o options) []scenario {
	var all []scenario
	for _, s := range []func(options) scenario{
		dump, storm, flat, irrelevant, deleted(50, 2), deleted(5000, 4), amongMillions, flap, pods, scrape, memory, nodeWatch, idle,
	} {
		all = append(all, s(o))
	}
	return all
}
