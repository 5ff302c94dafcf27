package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"routewatch/exporter/internal/kernel"
	"routewatch/exporter/internal/leases/etcd"
	"routewatch/shared/lease"
	"routewatch/shared/mend"
)

// newEtcdSource prepares the leases that flannel keeps in etcd.
func newEtcdSource(c *cli.Context, cfg config, why string) (leaseSource, error) {
	prefix := "/" + strings.Trim(c.String(flagEtcdPrefix), "/")
	if prefix == "/" {
		return leaseSource{}, fmt.Errorf("--%s is %q: expected flannel's, e.g. /coreos.com/network", flagEtcdPrefix, c.String(flagEtcdPrefix))
	}
	endpoints, secure, err := etcdEndpoints(c.StringSlice(flagEtcdEndpoints))
	if err != nil {
		return leaseSource{}, err
	}
	ec := etcd.Config{
		Endpoints: endpoints, Prefix: prefix, Username: c.String(flagEtcdUser), Self: cfg.judge.Node,
		Families: cfg.judge.Flannel.Families, Log: cfg.log,
		Addrs: func() ([]netip.Addr, error) { return kernel.Addresses(cfg.kernel.NetNS) },
	}
	if ec.TLS, err = etcdTLS(c, secure); err != nil {
		return leaseSource{}, err
	}
	if ec.Password, err = etcdPassword(c); err != nil {
		return leaseSource{}, err
	}
	source := etcd.New(ec)
	return leaseSource{
		name: sourceEtcd, where: source.Where(), why: why, show: mend.ShowEtcdLeases(prefix),
		options: lease.Options{Self: cfg.judge.Node, Families: cfg.judge.Flannel.Families},
		read:    source.Read, watch: source.Watch,
	}, nil
}

// etcdEndpoints checks the URLs, which all have one scheme.
func etcdEndpoints(given []string) (endpoints []string, secure bool, err error) {
	for i, s := range given {
		s = strings.TrimSpace(s)
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" {
			return nil, false, fmt.Errorf("--%s has a value that is no URL of an etcd: expected one like https://127.0.0.1:2379 without a user",
				flagEtcdEndpoints)
		}
		if i > 0 && secure != (u.Scheme == "https") {
			return nil, false, fmt.Errorf("--%s has both http and https: expected one of them", flagEtcdEndpoints)
		}
		secure = u.Scheme == "https"
		endpoints = append(endpoints, s)
	}
	return endpoints, secure, nil
}

func etcdTLS(c *cli.Context, secure bool) (*tls.Config, error) {
	ca, cert, key := c.Path(flagEtcdCA), c.Path(flagEtcdCert), c.Path(flagEtcdKey)
	switch {
	case !secure && ca+cert+key != "":
		return nil, fmt.Errorf("--%s, --%s and --%s are for etcd over https: give --%s as https://",
			flagEtcdCA, flagEtcdCert, flagEtcdKey, flagEtcdEndpoints)
	case (cert == "") != (key == ""):
		return nil, fmt.Errorf("--%s and --%s go together: expected both or none", flagEtcdCert, flagEtcdKey)
	case !secure:
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flagEtcdCA, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--%s: %s has no certificate: expected PEM", flagEtcdCA, ca)
		}
	}
	if cert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("--%s, --%s: %w", flagEtcdCert, flagEtcdKey, err)
		}
		// Read at each connection: it may have been renewed.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return cfg, nil
}

// etcdPassword reads the file at each connection: it may have been changed.
func etcdPassword(c *cli.Context) (func() (string, error), error) {
	user, path := c.String(flagEtcdUser), c.Path(flagEtcdPassword)
	switch {
	case (user == "") != (path == ""):
		return nil, fmt.Errorf("--%s and --%s go together: expected both or none", flagEtcdUser, flagEtcdPassword)
	case path == "":
		return nil, nil
	}
	read := func() (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("--%s: %w", flagEtcdPassword, err)
		}
		return string(bytes.TrimRight(b, "\r\n")), nil
	}
	_, err := read()
	return read, err
}
