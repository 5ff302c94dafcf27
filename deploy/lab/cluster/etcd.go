//go:build linux

package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"routewatch/deploy/lab/process"
)

// EtcdOptions say how to reach an etcd.
type EtcdOptions struct {
	TLS         bool // https, with a certificate of the lab's own authority
	ClientCerts bool // it wants a client certificate
}

// Etcd is an etcd of its own on loopback.
type Etcd struct {
	URL      string
	dir      string
	http     *http.Client
	token    string // after EnableAuth
	launcher *process.Launcher
	server   *process.Process
}

// CA is the path of the certificate that signed the server's, where there is TLS.
func (e *Etcd) CA() string { return filepath.Join(e.dir, caCert) }

// ClientCert is the path of a client certificate, where there is TLS.
func (e *Etcd) ClientCert() string { return filepath.Join(e.dir, clientCert) }

// ClientKey is the path of its key.
func (e *Etcd) ClientKey() string { return filepath.Join(e.dir, clientKey) }

const (
	clientCert = "client.crt"
	clientKey  = "client.key"
)

// StartEtcd starts an etcd and returns when it answers.
func StartEtcd(ctx context.Context, opts EtcdOptions) (*Etcd, error) {
	path, err := Part("etcd")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "routewatch-etcd-")
	if err != nil {
		return nil, err
	}
	e := &Etcd{URL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), dir: dir, http: http.DefaultClient, launcher: process.NewLauncher()}
	if opts.TLS {
		e.URL = fmt.Sprintf("https://127.0.0.1:%d", ports[0])
	}
	e.server = &process.Process{
		Path: path, Args: etcdArgs(dir, e.URL, ports[1]), Log: filepath.Join(dir, "etcd.log"), Home: dir,
	}
	if opts.TLS {
		if err := e.secure(opts.ClientCerts); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	if err := e.Restart(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// secure makes the certificates.
func (e *Etcd) secure(clientCerts bool) error {
	pki, err := newPKI(e.dir)
	if err != nil {
		return err
	}
	e.http = pki.client([]tls.Certificate{pki.admin})
	args := []string{"--cert-file=" + filepath.Join(e.dir, serverCert), "--key-file=" + filepath.Join(e.dir, serverKey)}
	if clientCerts {
		args = append(args, "--client-cert-auth", "--trusted-ca-file="+e.CA())
	}
	e.server.Args = append(e.server.Args, args...)
	return errors.Join(pki.write(clientCert, pki.adminPEM[0]), pki.write(clientKey, pki.adminPEM[1]))
}

// EnableAuth makes the user root and another one who may read what begins with
// prefix, and refuses everybody else from then on.
func (e *Etcd) EnableAuth(ctx context.Context, rootPassword, user, password, prefix string) error {
	end := []byte(prefix)
	end[len(end)-1]++
	for _, call := range []struct {
		path string
		body map[string]any
	}{
		{"auth/user/add", map[string]any{"name": "root", "password": rootPassword}},
		{"auth/role/add", map[string]any{"name": "root"}},
		{"auth/user/grant", map[string]any{"user": "root", "role": "root"}},
		{"auth/role/add", map[string]any{"name": "reader"}},
		{"auth/role/grant", map[string]any{"name": "reader", "perm": map[string]any{
			"permType": "READ", "key": []byte(prefix), "range_end": end,
		}}},
		{"auth/user/add", map[string]any{"name": user, "password": password}},
		{"auth/user/grant", map[string]any{"user": user, "role": "reader"}},
		{"auth/user/add", map[string]any{"name": "nobody", "password": password}},
		{"auth/enable", map[string]any{}},
	} {
		if err := e.call(ctx, call.path, call.body, nil); err != nil {
			return err
		}
	}
	var answer struct{ Token string }
	err := e.call(ctx, "auth/authenticate", map[string]any{"name": "root", "password": rootPassword}, &answer)
	e.token = answer.Token
	return err
}

// Restart starts it again after Kill and returns when it answers.
func (e *Etcd) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := e.launcher.Start(e.server); err != nil {
		return err
	}
	for {
		_, err := e.Get(ctx, "ready")
		if err == nil {
			return nil
		}
		select {
		case <-e.server.Ended():
			return fmt.Errorf("etcd ended; its last words:\n%s", e.server.Tail())
		case <-ctx.Done():
			return fmt.Errorf("etcd is not ready: %w; its last words:\n%s", err, e.server.Tail())
		case <-time.After(pollInterval):
		}
	}
}

// Kill ends it as the kernel does when memory is short.
func (e *Etcd) Kill() { e.server.Kill() }

// Pause stops it in its tracks: connections stay, and nobody answers.
func (e *Etcd) Pause() error { return e.server.Pause() }

// Resume lets it go on.
func (e *Etcd) Resume() error { return e.server.Resume() }

// Close ends it and removes its data.
func (e *Etcd) Close() error {
	e.server.Stop()
	e.launcher.Close()
	return os.RemoveAll(e.dir)
}

// Put writes a key.
func (e *Etcd) Put(ctx context.Context, key, value string) error {
	return e.call(ctx, "kv/put", map[string]any{"key": []byte(key), "value": []byte(value)}, nil)
}

// Delete removes a key.
func (e *Etcd) Delete(ctx context.Context, key string) error {
	return e.call(ctx, "kv/deleterange", map[string]any{"key": []byte(key)}, nil)
}

// Get returns the values of the keys that begin with prefix, by key.
func (e *Etcd) Get(ctx context.Context, prefix string) (map[string]string, error) {
	values, _, err := e.list(ctx, prefix)
	return values, err
}

// Compact forgets every revision but the present one.
func (e *Etcd) Compact(ctx context.Context) error {
	_, revision, err := e.list(ctx, "/")
	if err != nil {
		return err
	}
	return e.call(ctx, "kv/compaction", map[string]any{"revision": revision, "physical": true}, nil)
}

func (e *Etcd) list(ctx context.Context, prefix string) (values map[string]string, revision string, err error) {
	end := []byte(prefix)
	end[len(end)-1]++ // no prefix of flannel's ends in 0xff
	var answer struct {
		Header struct{ Revision string }
		KVs    []struct{ Key, Value []byte }
	}
	err = e.call(ctx, "kv/range", map[string]any{"key": []byte(prefix), "range_end": end}, &answer)
	values = map[string]string{}
	for _, kv := range answer.KVs {
		values[string(kv.Key)] = string(kv.Value)
	}
	return values, answer.Header.Revision, err
}

// call speaks to etcd's JSON gateway (etcd.io/docs, "gRPC gateway").
func (e *Etcd) call(ctx context.Context, path string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+"/v3/"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	if e.token != "" {
		req.Header.Set("Authorization", e.token)
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("etcd %s: %w", path, newError(resp.StatusCode, answer))
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer, into)
}
