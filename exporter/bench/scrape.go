//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	scrapes   = 200 // in one round
	fewLeases = 50
	allLeases = 5000
)

// scrape is what Prometheus asks for, from a healthy node.
func scrape(o options) scenario {
	const more, bytesMore = "bytes of names and labels, more than at 50", "bytes, more than at 50"
	return scenario{
		name: "scrape", about: fmt.Sprintf("GET /metrics of a node with %d healthy leases, the median of %d", allLeases, scrapes),
		bars: []bar{
			{more, "", "", 0},
			{bytesMore, "", "", noBar}, // a value with more digits is not more to store
			{"time", "ms", "", 2},
			{"time", "ms", nodeExporter, 0},
			{"bytes", "", nodeExporter, 0},
		},
		prepare: func() ([]contestant, func(), error) {
			w, err := newWorld(allLeases)
			if err != nil {
				return nil, nil, err
			}
			few, err := w.scrapeOfFew(o)
			if err != nil {
				w.Close()
				return nil, nil, err
			}
			return []contestant{
				{ours, func() (figures, error) {
					page, took, err := w.scrapeOurs(o)
					return figures{
						"time": took, "bytes": float64(len(page)),
						more: float64(names(page) - names(few)), bytesMore: float64(len(page) - len(few)),
					}, err
				}},
				{nodeExporter, w.scrapeNodeExporter},
			}, w.Close, nil
		},
	}
}

// scrapeOfFew is the page of a world with few leases.
func (w *world) scrapeOfFew(o options) ([]byte, error) {
	few, err := newWorld(fewLeases)
	if err != nil {
		return nil, err
	}
	defer few.Close()
	page, _, err := few.scrapeOurs(o)
	return page, err
}

func (w *world) scrapeOurs(o options) (page []byte, took float64, err error) {
	e, err := startExporter(o, w)
	if err != nil {
		return nil, 0, err
	}
	defer e.stop()
	healthy := fmt.Appendf(nil, "\nroutewatch_leases{family=\"ipv4\",state=\"ok\"} %d\n", len(w.set.Leases))
	page, took, err = scraped(&http.Client{Transport: &http.Transport{}}, e.url+"/metrics")
	if err == nil && !bytes.Contains(page, healthy) {
		err = fmt.Errorf("the page has no line %s", healthy)
	}
	return page, took, err
}

// scraped is a page, and the median of how many milliseconds it takes.
func scraped(client *http.Client, url string) (page []byte, took float64, err error) {
	defer client.CloseIdleConnections()
	var all []float64
	for range scrapes {
		start := time.Now()
		if page, err = get(client, url); err != nil {
			return nil, 0, err
		}
		all = append(all, milliseconds(time.Since(start)))
	}
	return page, medianOf(all), nil
}

// names is how many bytes of a page are not values.
func names(page []byte) int {
	n := 0
	for line := range bytes.Lines(page) {
		if line[0] == '#' {
			n += len(line)
		} else {
			n += bytes.LastIndexByte(line, ' ')
		}
	}
	return n
}

const nodeExporter = "node_exporter network_route"

// builtPeer is node_exporter in the version that its module here names.
var builtPeer = sync.OnceValues(func() (string, error) { return buildGo("peers/node_exporter", "tool", "node_exporter") })

// scrapeNodeExporter asks node_exporter for the same routes, with no collector
// but that one.
func (w *world) scrapeNodeExporter() (figures, error) {
	program, err := builtPeer()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAbsent, err)
	}
	const address = "127.0.0.1:9100" // in the world, where nobody else has it
	p, err := start(w.Path(), program, "--collector.disable-defaults", "--collector.network_route",
		"--web.listen-address", address, "--log.level", "error")
	if err != nil {
		return nil, err
	}
	defer p.kill()
	client := w.client()
	if err := answers(client, "http://"+address); err != nil {
		return nil, err
	}
	page, took, err := scraped(client, "http://"+address+"/metrics")
	if routes := bytes.Count(page, []byte("\nnode_network_route_info{")); err == nil && routes < allLeases {
		err = fmt.Errorf("it shows %d routes", routes)
	}
	return figures{"time": took, "bytes": float64(len(page))}, err
}

// client connects inside the world.
func (w *world) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			err = w.Do(func() (err error) {
				c, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return c, err
		},
	}}
}
