package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"routewatch/shared/wire"
)

const findPods = "kubectl -n routewatch get pods -o wide"

// explain turns a failure to get any answer into what a person can act on.
// ctx is the caller's, without the timeout of the request: a person who
// interrupts is not told of a timeout.
func (c *Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted before %s answered: %w", c.base.Host, context.Cause(ctx))
	}
	// The URL is said once, and without its password, in our own words.
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		err = inner.Err
	}
	var (
		timeout interface{ Timeout() bool }
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
	)
	if c.proxied() {
		return c.explainProxied(err)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer from %s within %v: the node or its exporter is overloaded, or a firewall drops the packets; "+
			"try --timeout 30s, or look at: %s", c.URL(""), c.timeout, findPods)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens on %s: is the exporter running there? see: %s; "+
			"or name another one: --exporter http://NODE:%s", c.base.Host, findPods, Port)
	case errors.As(err, &dns):
		return fmt.Errorf("host %q of the exporter cannot be resolved: %w; pass its IP address: --exporter http://IP:%s",
			c.base.Hostname(), err, Port)
	case errors.As(err, &cert):
		return fmt.Errorf("the certificate of %s is not trusted: %w; name its authority: --ca-file ca.crt",
			c.base.Host, err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("the exporter at %s does not speak TLS; pass --exporter http://%s", c.base.Host, c.base.Host)
	}
	return fmt.Errorf("cannot ask the exporter at %s: %w; see: %s; or name another one: --exporter http://NODE:%s",
		c.URL(""), err, findPods, Port)
}

// misunderstood says that there was an answer, but not one of ours.
func (c *Client) misunderstood(path string, err error) error {
	if c.proxied() {
		return fmt.Errorf("the answer of pod %s cannot be understood: %w; is that a routewatch exporter? look at: kubectl get --raw %s",
			c.pod, err, c.base.JoinPath(path).Path)
	}
	return fmt.Errorf("the answer of %s cannot be understood: %w; is that a routewatch exporter? look at: curl -i %s",
		c.base.Host, err, c.URL(path))
}

// refused explains an answer with another status than 200.
func (c *Client) refused(path string, resp *http.Response, mediaType string, body []byte) error {
	said := reason(mediaType, body)
	if said != "" {
		said = ": " + said
	}
	if c.proxied() {
		return c.refusedProxied(resp, mediaType, body)
	}
	next := "look at: " + findPods
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		next = "pass the credentials: --exporter " + c.base.Scheme + "://USER:PASSWORD@" + c.base.Host +
			", or --token-file FILE, or --cert-file and --key-file"
	case http.StatusNotFound:
		next = "is that a routewatch exporter of this release? look at: curl -i " + c.URL("/-/healthy")
	case http.StatusBadRequest:
		if c.base.Scheme == "http" && strings.Contains(said, "HTTPS") {
			next = "pass --exporter https://" + c.base.Host
		}
	}
	return fmt.Errorf("%s answered %s%s; %s", c.URL(path), resp.Status, said, next)
}

// reason is what an error answer says in words: of a problem document (RFC
// 9457) its title and detail, of plain text its first line.
func reason(mediaType string, body []byte) string {
	switch mediaType {
	case "application/problem+json":
		var p wire.Problem
		if err := json.Unmarshal(body, &p); err != nil {
			return "a problem document that cannot be read: " + err.Error()
		}
		if p.Title != "" && p.Detail != "" {
			return p.Title + ": " + p.Detail
		}
		return p.Title + p.Detail
	case "application/json":
		var s struct{ Kind, Message string } // of Kubernetes
		if json.Unmarshal(body, &s) == nil && s.Kind == "Status" {
			return s.Message
		}
	case "text/plain", noType: // Go's TLS server answers plain HTTP without a type
		line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		return strings.TrimSuffix(line, ".")
	}
	return ""
}
