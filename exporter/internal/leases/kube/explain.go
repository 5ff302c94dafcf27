package kube

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// What goes wrong without an error of client-go's.
var (
	errNoAnswer = errors.New("no answer")
	errNoWatch  = errors.New("no watch goes on")
	errListing  = errors.New("the Nodes are still being listed")
	errShort    = errors.New("it ends each watch at once")
)

// needs are the rights that the ClusterRole of routewatch gives.
const needs = "get, list, watch of nodes"

// explain says which API server failed, how, and what to do. It leaves out
// what is another with each try, like the query and the local port.
func (c *client) explain(verb string, err error) error {
	reason, advice := c.reason(verb, err)
	if advice != "" {
		reason += ": " + advice
	}
	return &problem{fmt.Sprintf("API server %s (%s): %s", c.server, c.origin, reason), err}
}

// problem is an error in words for a person.
type problem struct {
	text  string
	cause error
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.cause }

func (c *client) reason(verb string, err error) (reason, advice string) {
	var status apierrors.APIStatus
	switch {
	case apierrors.IsForbidden(err):
		return forbidden(verb, err)
	case apierrors.IsUnauthorized(err):
		return "it does not accept the credentials (401 Unauthorized)",
			"the token or certificate has expired or is of another cluster; a service account's token is read again each minute"
	case apierrors.IsNotFound(err):
		return "it knows no Nodes (404 Not Found)", "is this URL that of a Kubernetes API server?"
	case errors.Is(err, errNoAnswer), errors.Is(err, errNoWatch), errors.Is(err, errListing), errors.Is(err, errShort):
		return err.Error(), c.look()
	case apierrors.HasStatusCause(err, watchDecoding):
		return "the watch broke (" + broken(err) + ")", "look for what cuts connections between this node and it"
	case errors.As(err, &status):
		s := status.Status()
		return fmt.Sprintf("it answers %q (%s, %d)", s.Message, s.Reason, s.Code), c.look()
	}
	return c.transport(err)
}

func (c *client) look() string { return fmt.Sprintf("look at it with `curl -k %s/readyz`", c.server) }

// watchDecoding is how client-go marks a watch that broke.
const watchDecoding = "ClientWatchDecoding"

// broken returns what broke a watch, in client-go's words.
func broken(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			if c.Type == watchDecoding {
				return strings.TrimPrefix(c.Message, "unable to decode an event from the watch stream: ")
			}
		}
	}
	return err.Error()
}

// Kubernetes' authorizer writes: nodes is forbidden: User "x" cannot list
// resource "nodes" in API group "" at the cluster scope.
var refused = regexp.MustCompile(`User "([^"]+)" cannot (\w+) resource`)

func forbidden(verb string, err error) (reason, advice string) {
	user := "USER"
	if m := refused.FindStringSubmatch(err.Error()); m != nil {
		user, verb = m[1], m[2]
	}
	reason = fmt.Sprintf("it forbids %q to %s nodes (403 Forbidden)", user, verb)
	advice = fmt.Sprintf("routewatch needs %s: bind a ClusterRole with these verbs to it and check with `kubectl auth can-i %s nodes --as=%s`",
		needs, verb, user)
	return reason, advice
}

// transport explains what kept a request from its answer.
func (c *client) transport(err error) (reason, advice string) {
	var (
		dns     *net.DNSError
		record  tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		request *url.Error
		op      *net.OpError
	)
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("its name %s cannot be resolved (%s)", dns.Name, dns.Err),
			"give its address with --kubernetes.api-server URL; a pod in the host's network uses the node's resolver"
	case errors.As(err, &unknown):
		return "its certificate is signed by an unknown authority", "the CA of the kubeconfig or service account is that of another cluster"
	case errors.As(err, &host):
		return "its certificate is not for this name: " + host.Error(),
			"give a name or address that is in the certificate with --kubernetes.api-server URL"
	case errors.As(err, &invalid):
		return "its certificate is not valid: " + invalid.Error(), "look at its dates, and at this node's clock"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it does not speak TLS", "is the port right, and https the right scheme?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", "it does not run, or listens elsewhere"
	case errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return "no answer in time", "is there a route to it, and does a firewall let it through?"
	}
	if errors.Is(err, io.EOF) {
		return "it closes the connection without an answer", c.look()
	}
	if errors.As(err, &request) {
		err = request.Err
	}
	if errors.As(err, &op) {
		return fmt.Sprintf("%s: %s", op.Op, op.Err), "is there a route to it?"
	}
	return err.Error(), c.look()
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
