// Package cluster finds the exporters of a Kubernetes cluster, and what else of
// it a person would look up with kubectl: pods and their logs. It reads only.
//
// Credentials come from a kubeconfig in the way of kubectl. The exporters are
// asked through the API server's pod proxy, so that no port needs forwarding.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"routewatch/cli/internal/client"
)

// Where the shipped manifests put the exporters.
const (
	DefaultNamespace = "routewatch"
	DefaultSelector  = "app.kubernetes.io/name=routewatch,app.kubernetes.io/component=exporter"
)

// maxBody bounds an answer of the API server, in bytes: a page of 500 pods is 10 MB at most.
const maxBody = 64 << 20

// Config says which cluster, and where in it the exporters are.
type Config struct {
	Kubeconfig string        // path; "" for $KUBECONFIG, then ~/.kube/config
	Context    string        // "" for the kubeconfig's current one
	Namespace  string        // of the exporters
	Selector   string        // of the exporters' pods
	Timeout    time.Duration // of each request
}

// Cluster is a way to an API server.
type Cluster struct {
	cfg  Config
	name string // of the context
	own  string // the context's namespace
	base *url.URL
	http *http.Client
}

// Known reports whether there is a kubeconfig that nobody needs to name.
func Known() bool {
	if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "" {
		return true
	}
	_, err := os.Stat(clientcmd.RecommendedHomeFile)
	return err == nil
}

// Connect reads the kubeconfig. It sends nothing yet.
func Connect(cfg Config) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: cfg.Context})
	config, err := loaded.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("no kubeconfig is known: pass --kubeconfig FILE, or --exporter URL for one exporter")
	case err != nil:
		return nil, fmt.Errorf("the kubeconfig cannot be used: %w; try: kubectl config get-contexts", err)
	}
	raw, err := loaded.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig cannot be used: %w", err)
	}
	c := &Cluster{cfg: cfg, name: cfg.Context}
	if c.name == "" {
		c.name = raw.CurrentContext
	}
	if c.own, _, err = loaded.Namespace(); err != nil {
		return nil, fmt.Errorf("the kubeconfig cannot be used: %w", err)
	}
	config.UserAgent = "routewatch"
	if c.base, _, err = rest.DefaultServerUrlFor(config); err != nil {
		return nil, fmt.Errorf("the server of the kubeconfig's context %q: %w", c.name, err)
	}
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("the credentials of the kubeconfig's context %q: %w", c.name, err)
	}
	return c, nil
}

// Name is the kubeconfig's context, or the server where there is none.
func (c *Cluster) Name() string {
	if c.name == "" {
		return c.base.Host
	}
	return c.name
}

// Namespace is where the exporters are.
func (c *Cluster) Namespace() string { return c.cfg.Namespace }

// get decodes what the API server has at a path, which is below /api/v1.
func (c *Cluster) get(ctx context.Context, path string, query url.Values, accept string, into any) error {
	body, err := c.raw(ctx, path, query, accept)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer of the API server at %s to %s cannot be understood: %w", c.base.Host, path, err)
	}
	return nil
}

func (c *Cluster) raw(ctx context.Context, path string, query url.Values, accept string) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	address := c.base.JoinPath("api/v1", path)
	address.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }() // read only: nothing can be lost
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, c.explain(ctx, err)
	case len(body) > maxBody:
		return nil, fmt.Errorf("the API server's answer to %s is larger than %d MiB", path, maxBody>>20)
	case resp.StatusCode != http.StatusOK:
		return nil, newError(resp.StatusCode, body)
	}
	return body, nil
}

func (c *Cluster) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted before the API server at %s answered: %w", c.base.Host, context.Cause(ctx))
	}
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		err = inner.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from the API server at %s within %v; try --timeout 30s, or: kubectl get nodes", c.base.Host, c.cfg.Timeout)
	}
	return fmt.Errorf("cannot ask the API server at %s (context %s): %w; try: kubectl get nodes; "+
		"or ask one exporter: --exporter http://NODE:%s",
		c.base.Host, c.Name(), err, client.Port)
}

// Error is an answer of the API server other than success.
type Error struct {
	Code    int // of HTTP
	Message string
}

func newError(code int, body []byte) *Error {
	var s metav1.Status
	if err := json.Unmarshal(body, &s); err != nil || s.Message == "" {
		s.Message = http.StatusText(code)
	}
	return &Error{code, s.Message}
}

// Error implements error. What the API server says of a right names it.
func (e *Error) Error() string {
	switch e.Code {
	case http.StatusUnauthorized:
		return "the API server does not know you: " + e.Message + "; try: kubectl auth whoami"
	case http.StatusForbidden:
		return e.Message
	}
	return "the API server says: " + e.Message
}

// is reports whether the API server answered so.
func is(err error, code int) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}

// granted adds to a lack of rights which role of deploy/reader.yaml grants it: in a
// namespace the one for logs, else that for the whole cluster.
func granted(err error, namespace string) error {
	switch {
	case !is(err, http.StatusForbidden):
		return err
	case namespace == "":
		return fmt.Errorf("%w; grant it: "+
			"kubectl create clusterrolebinding routewatch-reader-NAME --clusterrole=routewatch-reader --user=NAME", err)
	}
	return fmt.Errorf("%w; grant it: "+
		"kubectl -n %s create rolebinding routewatch-log-reader-NAME --clusterrole=routewatch-log-reader --user=NAME", err, namespace)
}
