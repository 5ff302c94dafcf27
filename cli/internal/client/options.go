package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
)

// Options say how an exporter is asked. Files are in PEM but for the token's.
type Options struct {
	Timeout           time.Duration // bounds each request as a whole
	CAFile            string        // trust these authorities instead of the system's
	CertFile, KeyFile string        // the certificate to present; both or none
	TokenFile         string        // a bearer token
}

func (o Options) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file %s: no certificate is in it: expected PEM, as in ca.crt", o.CAFile)
		}
	}
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return nil, errors.New("--cert-file and --key-file go together: give both")
	case o.CertFile != "":
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("--cert-file %s, --key-file %s: %w", o.CertFile, o.KeyFile, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// token is that for an exporter at base. It goes over no network in the clear.
func (o Options) token(base *url.URL) (string, error) {
	if o.TokenFile == "" {
		return "", nil
	}
	if ip := net.ParseIP(base.Hostname()); base.Scheme != "https" && base.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("--token-file: the token would go to %s in the clear: expected https://", base.Redacted())
	}
	text, err := os.ReadFile(o.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \r\n\t") {
		return "", fmt.Errorf("--token-file %s: expected one token and nothing else", o.TokenFile)
	}
	return token, nil
}
