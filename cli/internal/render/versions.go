package render

import (
	"fmt"
	"slices"
	"strings"

	"routewatch/shared/wire"
)

// maxSkewed is how many nodes are named of those that have one version.
const maxSkewed = 5

// Versions renders those of the exporters, and says how they differ from ours.
func Versions(v *wire.Versions, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	t := &table{columns: []column{{title: "NODE", least: 12}, {title: "VERSION"}, {title: "EXPORTER", least: 12}}}
	for _, i := range v.Items {
		release := plain(or(i.Version, "-"))
		if i.Version != v.Client.Version {
			release.paint = o.Style.Unsure
		}
		t.add(plain(or(i.Node, "-")), release, plain(i.Exporter))
	}
	p := &page{o: o}
	p.line("")
	p.b.WriteString(t.text(o))
	if text := skew(v); text != "" {
		p.line("")
		for _, line := range wrap("SKEW: "+text, 0, o.Width) {
			p.line(o.Style.Unsure(line))
		}
	}
	return p.b.String()
}

// skew says which exporters are of another release than this program; "" if none is.
func skew(v *wire.Versions) string {
	others := map[string][]string{} // nodes by version
	var versions []string
	for _, i := range v.Items {
		if i.Version == v.Client.Version {
			continue
		}
		if others[i.Version] == nil {
			versions = append(versions, i.Version)
		}
		others[i.Version] = append(others[i.Version], Clean(or(i.Node, i.Exporter)))
	}
	if len(versions) == 0 {
		return ""
	}
	slices.Sort(versions)
	var parts []string
	for _, other := range versions {
		nodes := others[other]
		verb, has := "has ", "does"
		if len(nodes) > 1 {
			verb, has = "have ", "do"
		}
		if other == "" {
			parts = append(parts, fmt.Sprintf("%s %s not say a version", names(nodes), has))
			continue
		}
		parts = append(parts, names(nodes)+" "+verb+Clean(other))
	}
	return fmt.Sprintf("%s, this routewatch is %s: what one of them added the other does not know, though all of %s can be read; "+
		"use one release of both", strings.Join(parts, ", "), Clean(v.Client.Version), wire.APIVersion)
}

// names are the first of them, and how many more there are.
func names(nodes []string) string {
	if more := len(nodes) - maxSkewed; more > 0 {
		return strings.Join(nodes[:maxSkewed], ", ") + " and " + number(more) + " more"
	}
	if len(nodes) == 1 {
		return nodes[0]
	}
	last := len(nodes) - 1
	return strings.Join(nodes[:last], ", ") + " and " + nodes[last]
}
