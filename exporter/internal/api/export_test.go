package api

import "slices"

// Routes are the paths that are served, as OpenAPI spells them.
func Routes(cfg Config) []string {
	var paths []string
	for path := range (handler{Config: cfg}).routes() {
		if path == "/{$}" {
			path = "/"
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}
