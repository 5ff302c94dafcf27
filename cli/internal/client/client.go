// Package client asks an exporter over its HTTP API. It trusts nothing of the
// answer: size, time, content type, version and kind are checked before a
// document is believed, and every error says what to type next.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"routewatch/shared/wire"
)

const (
	// Port is the exporter's.
	Port = "10098"
	// maxBody bounds an answer, in bytes. A status with 100 problems and
	// thousands of stale objects stays below 2 MiB.
	maxBody = 16 << 20
	// noType stands for a content type that is absent or malformed.
	noType = "of no known type"
)

// Client asks one exporter.
type Client struct {
	base    *url.URL
	timeout time.Duration
	http    *http.Client
	token   string // "": none
	pod     Pod    // of the exporter, where the API server's proxy is asked
}

// Pod names a pod.
type Pod struct{ Namespace, Name string }

// String is NAMESPACE/NAME.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// New returns a client of the exporter at address: a URL, or host or
// host:port, for which http and the exporter's port are assumed. The error is
// about the address, or about a file of the options.
func New(address string, o Options) (*Client, error) {
	base, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	c := &Client{base: base, timeout: o.Timeout}
	if c.token, err = o.token(base); err != nil {
		return nil, err
	}
	// A transport of our own: the default one is shared by the whole process.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = o.tls(); err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: transport}
	return c, nil
}

// Proxied returns a client of the exporter in a pod, which is asked through an
// API server: base is the pod's proxy there, and via has the credentials.
func Proxied(base *url.URL, via *http.Client, pod Pod, timeout time.Duration) *Client {
	return &Client{base: base, timeout: timeout, http: via, pod: pod}
}

// Where names the exporter for a person: its URL, or its pod.
func (c *Client) Where() string {
	if c.proxied() {
		return c.pod.String()
	}
	return c.URL("")
}

func (c *Client) proxied() bool { return c.pod != Pod{} }

// URL is the address of a path below the exporter, without a password.
func (c *Client) URL(path string) string { return c.base.JoinPath(path).Redacted() }

// parseAddress accepts what a person types for an exporter.
func parseAddress(address string) (*url.URL, error) {
	bad := func(why string) error {
		return fmt.Errorf("%q is no address of an exporter: %s; expected for example http://127.0.0.1:%s", redact(address), why, Port)
	}
	full := address
	if !strings.Contains(full, "://") {
		if ip := net.ParseIP(full); ip != nil && ip.To4() == nil {
			full = "[" + full + "]"
		}
		full = "http://" + full
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		// url.Error repeats the whole address, with a password if it has one.
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, bad(err.Error())
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, bad("the scheme is neither http nor https")
	case u.Hostname() == "":
		return nil, bad("it names no host")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, bad("it has a query or a fragment")
	}
	if full != address && u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), Port)
	}
	return u, nil
}

// redact hides what stands between a scheme and an "@": a user and a password.
func redact(address string) string {
	head, rest, ok := strings.Cut(address, "://")
	if !ok {
		head, rest = "", address
	} else {
		head += "://"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "xxxxx" + rest[i:]
	}
	return head + rest
}

// Status is an exporter's answer to /api/v1/status.
type Status struct {
	Document wire.NodeStatus
	// JSON is the document as the exporter sent it, with all that this version
	// does not know.
	JSON []byte
	// ServerTime is the exporter's clock when it answered, to the second; zero
	// if it did not say. Ages reckoned by it are right although the clocks of
	// the two machines differ.
	ServerTime time.Time
}

// Status asks for the node's status.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	a, err := ask[wire.NodeStatus](ctx, c, "/api/v1/status", wire.KindNodeStatus, nil)
	if err != nil {
		return nil, err
	}
	return &Status{Document: a.Document, JSON: a.JSON, ServerTime: a.ServerTime}, nil
}

// Answer is a document of an exporter as it sent it.
type Answer[T any] struct {
	Document   T
	JSON       []byte
	ServerTime time.Time // see Status
}

// Explain asks what is known of an address.
func (c *Client) Explain(ctx context.Context, address string) (a Answer[wire.Explanation], err error) {
	return ask[wire.Explanation](ctx, c, "/api/v1/explain", wire.KindExplain, url.Values{"address": {address}})
}

// Leases asks for a page of leases, those in one of the states if any are given.
// after is what the page before had as Continue, "" for the first.
func (c *Client) Leases(ctx context.Context, states []string, after string) (Answer[wire.LeaseList], error) {
	query := url.Values{}
	if len(states) > 0 {
		query["state"] = states
	}
	if after != "" {
		query.Set("continue", after)
	}
	return ask[wire.LeaseList](ctx, c, "/api/v1/leases", wire.KindLeaseList, query)
}

// Events asks for what happened after an event; "" for the last that are kept.
func (c *Client) Events(ctx context.Context, after string) (Answer[wire.EventList], error) {
	query := url.Values{}
	if after != "" {
		query.Set("after", after)
	}
	return ask[wire.EventList](ctx, c, "/api/v1/events", wire.KindEvents, query)
}

func ask[T any](ctx context.Context, c *Client, path, kind string, query url.Values) (a Answer[T], err error) {
	var header http.Header
	if a.JSON, header, err = c.get(ctx, path, query, "application/json"); err != nil {
		return a, err
	}
	if t, err := http.ParseTime(header.Get("Date")); err == nil {
		a.ServerTime = t
	}
	return a, c.decode(path, a.JSON, kind, &a.Document)
}

// Metrics returns what Prometheus would scrape.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	body, _, err := c.get(ctx, "/metrics", nil, "text/plain")
	return body, err
}

// get returns the body of an answer of that type with status 200.
func (c *Client) get(ctx context.Context, path string, query url.Values, want string) ([]byte, http.Header, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	address := c.base.JoinPath(path)
	address.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return nil, nil, fmt.Errorf("request to %s: %w", c.URL(path), err)
	}
	req.Header.Set("Accept", want+", application/problem+json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("User-Agent", "routewatch")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, c.explain(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // read only: nothing can be lost
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, nil, c.explain(ctx, err)
	}
	if len(body) > maxBody {
		return nil, nil, c.misunderstood(path, fmt.Errorf("it is larger than %d MiB", maxBody>>20))
	}
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		mediaType = noType
	}
	if resp.StatusCode != http.StatusOK {
		return nil, nil, c.refused(path, resp, mediaType, body)
	}
	if mediaType != want {
		return nil, nil, c.misunderstood(path, fmt.Errorf("it is %s, not %s", mediaType, strings.TrimPrefix(strings.ToUpper(want),
			"APPLICATION/")))
	}
	return body, resp.Header, nil
}

// decode checks that the body is a document of our version and of the kind,
// then fills it into v. Fields that are not known are ignored: v1 only grows.
func (c *Client) decode(path string, body []byte, kind string, v any) error {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return c.misunderstood(path, err)
	}
	switch {
	case head.APIVersion == "":
		return c.misunderstood(path, fmt.Errorf("it has no apiVersion, expected %s", wire.APIVersion))
	case head.APIVersion != wire.APIVersion:
		return fmt.Errorf("the exporter at %s speaks %s, this routewatch speaks %s; "+
			"use the routewatch of the exporter's release, and see: routewatch version", c.URL(""), head.APIVersion, wire.APIVersion)
	case head.Kind != kind:
		return c.misunderstood(path, fmt.Errorf("its kind is %q, expected %s", head.Kind, kind))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return c.misunderstood(path, err)
	}
	return nil
}
