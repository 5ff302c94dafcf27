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

// explain is Explain for what this package asks and finds.
func (c *client) explain(verb string, err error) error {
	var reason, advice string
	switch {
	case apierrors.IsNotFound(err):
		reason, advice = "it knows no Nodes (404 Not Found)", "is this URL that of a Kubernetes API server?"
	case errors.Is(err, errNoAnswer), errors.Is(err, errNoWatch), errors.Is(err, errListing), errors.Is(err, errShort):
		reason, advice = err.Error(), c.look()
	case apierrors.HasStatusCause(err, watchDecoding):
		reason, advice = "the watch broke ("+broken(err)+")", "look for what cuts connections between this node and it"
	default:
		return c.Explain(Right{
			Verb: verb, Resource: "nodes", Needs: "get, list, watch of nodes", Grant: "bind a ClusterRole with these verbs to it",
		}, err)
	}
	return c.problem(reason, advice, err)
}

// Right is what a request needs at an API server that asks who may.
type Right struct {
	Verb     string // "list"
	Resource string // "nodes"
	Flags    string // of kubectl's that say more of it: "-n default"; "" none
	Needs    string // all that routewatch needs there: "get, list, watch of nodes"
	Grant    string // how it gets that
}

// Explain says which API server failed, how, and what to do. It leaves out
// what is another with each try, like the query and the local port.
func (a *API) Explain(right Right, err error) error {
	var status apierrors.APIStatus
	var reason, advice string
	switch {
	case apierrors.IsForbidden(err):
		reason, advice = right.forbidden(err)
	case apierrors.IsUnauthorized(err):
		reason, advice = "it does not accept the credentials (401 Unauthorized)",
			"the token or certificate has expired or is of another cluster; a service account's token is read again each minute"
	case errors.As(err, &status):
		s := status.Status()
		reason, advice = fmt.Sprintf("it answers %q (%s, %d)", s.Message, s.Reason, s.Code), a.look()
	default:
		reason, advice = a.transport(err)
	}
	return a.problem(reason, advice, err)
}

func (a *API) problem(reason, advice string, err error) error {
	if advice != "" {
		reason += ": " + advice
	}
	return &problem{fmt.Sprintf("API server %s (%s): %s", a.server, a.origin, reason), err}
}

// problem is an error in words for a person.
type problem struct {
	text  string
	cause error
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.cause }

func (a *API) look() string { return fmt.Sprintf("look at it with `curl -k %s/readyz`", a.server) }

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

func (r Right) forbidden(err error) (reason, advice string) {
	user := "USER"
	if m := refused.FindStringSubmatch(err.Error()); m != nil {
		user, r.Verb = m[1], m[2]
	}
	reason = fmt.Sprintf("it forbids %q to %s %s (403 Forbidden)", user, r.Verb, r.Resource)
	advice = fmt.Sprintf("routewatch needs %s: %s and check with `kubectl auth can-i %s --as=%s`",
		r.Needs, r.Grant, strings.Join(strings.Fields(r.Verb+" "+r.Resource+" "+r.Flags), " "), user)
	return reason, advice
}

// transport explains what kept a request from its answer.
func (a *API) transport(err error) (reason, advice string) {
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
		return "it closes the connection without an answer", a.look()
	}
	if errors.As(err, &request) {
		err = request.Err
	}
	if errors.As(err, &op) {
		return fmt.Sprintf("%s: %s", op.Op, op.Err), "is there a route to it?"
	}
	return err.Error(), a.look()
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
