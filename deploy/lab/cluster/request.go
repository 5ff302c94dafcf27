//go:build linux

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"

	"routewatch/deploy/lab/process"
)

// Kubectl runs kubectl as the administrator, or with --kubeconfig as anybody.
func (c *Cluster) Kubectl(args ...string) (stdout, stderr string, err error) {
	return c.KubectlIn("", args...)
}

// KubectlIn is Kubectl with standard input.
func (c *Cluster) KubectlIn(stdin string, args ...string) (stdout, stderr string, err error) {
	path, err := Part("kubectl")
	if err != nil {
		return "", "", err
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(process.Environment(c.dir), "KUBECONFIG="+c.AdminKubeconfig())
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
		return out.String(), errs.String(), err
	}
	return out.String(), errs.String(), nil
}

// Client speaks to the API server as somebody.
type Client struct {
	URL   string // of the API server, https
	http  *http.Client
	token string // "": whom the certificate names
}

// As is a Client that presents a token instead of the administrator's certificate.
func (c *Cluster) As(token string) *Client {
	return &Client{URL: c.URL, http: c.pki.client(nil), token: token}
}

// Do sends a request, with a body in JSON, and decodes the answer unless into
// is nil. Any other answer than success is an *Error. PATCH is a JSON merge patch.
func (c *Client) Do(ctx context.Context, method, path string, body, into any) error {
	var raw io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		raw = bytes.NewReader(b)
	}
	code, answer, err := c.send(ctx, method, path, raw)
	switch {
	case err != nil:
		return err
	case code/100 != 2:
		return fmt.Errorf("%s %s: %w", method, path, newError(code, answer))
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer, into)
}

// Stream begins a request whose answer goes on, as that of a watch does, and
// returns its body. accept is a media type.
func (c *Client) Stream(ctx context.Context, path, accept string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return resp.Body, nil
}

// Error is an answer other than success.
type Error struct {
	Code    int    // of HTTP
	Message string // of the Status that the API server sends, else the whole body
}

func newError(code int, body []byte) *Error {
	var status struct{ Message string }
	if err := json.Unmarshal(body, &status); err != nil || status.Message == "" {
		status.Message = string(body)
	}
	return &Error{code, status.Message}
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Message) }

// Forbidden returns what the API server said when it refused the request to
// this user; "" for any other error, or none.
func Forbidden(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Code == http.StatusForbidden {
		return e.Message
	}
	return ""
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// DeleteFromEtcd deletes a key, e.g. /registry/minions/NAME, so that something
// changes while there is no API server.
func (c *Cluster) DeleteFromEtcd(ctx context.Context, key string) error {
	body, err := json.Marshal(map[string][]byte{"key": []byte(key)})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.etcdURL+"/v3/kv/deleterange", bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Deleted int `json:",string"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("etcd answers %s: %w", res.Status, err)
	}
	if answer.Deleted != 1 {
		return fmt.Errorf("etcd deleted %d keys %s, expected one (%s)", answer.Deleted, key, res.Status)
	}
	return nil
}
