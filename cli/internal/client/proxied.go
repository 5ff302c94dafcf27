package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// explainProxied turns a failure to get any answer from the API server into
// what a person can act on.
func (c *Client) explainProxied(err error) error {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("no answer from pod %s within %v: the node is down or overloaded, or the control plane cannot reach it; "+
			"try --timeout 30s, or look at: kubectl -n %s get pod %s -o wide", c.pod, c.timeout, c.pod.Namespace, c.pod.Name)
	}
	return fmt.Errorf("cannot ask the API server at %s: %w; try: kubectl get nodes", c.base.Host, err)
}

// refusedProxied explains an answer with another status than 200, which is the
// API server's own or the exporter's.
func (c *Client) refusedProxied(resp *http.Response, mediaType string, body []byte) error {
	said := reason(mediaType, body)
	own := mediaType == "application/json" && said != "" // a Status
	switch code := resp.StatusCode; {
	case own && code == http.StatusForbidden:
		return fmt.Errorf("%s; grant it: %s", said, Grant(c.pod.Namespace))
	case own && code == http.StatusUnauthorized:
		return fmt.Errorf("the API server at %s does not know you: %s; try: kubectl auth whoami", c.base.Host, said)
	case own && code == http.StatusNotFound:
		return fmt.Errorf("pod %s is gone: %s; ask again", c.pod, said)
	case own || code == http.StatusServiceUnavailable || code == http.StatusBadGateway || code == http.StatusGatewayTimeout:
		return fmt.Errorf("the API server cannot reach pod %s: %s; look at: kubectl -n %s get pod %s -o wide",
			c.pod, strings.TrimSpace(said), c.pod.Namespace, c.pod.Name)
	case code == http.StatusUnauthorized:
		return fmt.Errorf("pod %s wants credentials, which the API server's proxy takes away; "+
			"ask it directly: --exporter https://USER:PASSWORD@NODE:%s",
			c.pod, Port)
	}
	if said != "" {
		said = ": " + said
	}
	return fmt.Errorf("pod %s answered %s%s; look at: kubectl -n %s logs %s", c.pod, resp.Status, said, c.pod.Namespace, c.pod.Name)
}

// Grant is the command that gives somebody the rights to ask all exporters:
// the role comes with the manifests.
func Grant(namespace string) string {
	return fmt.Sprintf("kubectl -n %s create rolebinding routewatch-reader-NAME --role=routewatch-reader --user=NAME", namespace)
}
