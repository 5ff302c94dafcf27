//go:build linux

package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// The files of a cluster's directory.
const (
	caCert            = "ca.crt"
	serverCert        = "server.crt"
	serverKey         = "server.key"
	serviceAccountKey = "service-account.key"
)

// pki is one authority with three keys below it: the API server's, an
// administrator's, and the one that signs the tokens of service accounts.
type pki struct {
	dir      string
	ca       *x509.Certificate
	caKey    *ecdsa.PrivateKey
	admin    tls.Certificate
	adminPEM [2][]byte // certificate and key
	signer   *ecdsa.PrivateKey
}

func newPKI(dir string) (*pki, error) {
	p := &pki{dir: dir}
	var err error
	if p.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	authority := template("routewatch-lab")
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage = x509.KeyUsageCertSign
	p.ca = authority
	certPEM, _, err := p.issue(authority, p.caKey)
	if err != nil {
		return nil, err
	}
	if p.ca, err = parse(certPEM); err != nil {
		return nil, err
	}
	if err := p.write(caCert, certPEM); err != nil {
		return nil, err
	}
	if err := p.issueServer(); err != nil {
		return nil, err
	}
	if err := p.issueAdmin(); err != nil {
		return nil, err
	}
	return p, p.makeServiceAccountKey()
}

func template(name string, groups ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// issue signs a certificate for a key and returns both in PEM.
func (p *pki) issue(t *x509.Certificate, key *ecdsa.PrivateKey) (certPEM, keyPEM []byte, err error) {
	der, err := x509.CreateCertificate(rand.Reader, t, p.ca, key.Public(), p.caKey)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

func parse(certPEM []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(certPEM)
	return x509.ParseCertificate(block.Bytes)
}

func (p *pki) issueServer() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template("kube-apiserver")
	// etcd speaks to itself with its own certificate.
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	t.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	certPEM, keyPEM, err := p.issue(t, key)
	if err != nil {
		return err
	}
	if err := p.write(serverCert, certPEM); err != nil {
		return err
	}
	return p.write(serverKey, keyPEM)
}

func (p *pki) issueAdmin() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template("admin", "system:masters")
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	certPEM, keyPEM, err := p.issue(t, key)
	if err != nil {
		return err
	}
	p.adminPEM = [2][]byte{certPEM, keyPEM}
	p.admin, err = tls.X509KeyPair(certPEM, keyPEM)
	return err
}

func (p *pki) makeServiceAccountKey() (err error) {
	if p.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(p.signer)
	if err != nil {
		return err
	}
	return p.write(serviceAccountKey, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func (p *pki) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(p.dir, name), content, 0o600)
}

// pool trusts the authority alone.
func (p *pki) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.ca)
	return pool
}

// client trusts the authority and presents a certificate, if any.
func (p *pki) client(certificates []tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.pool(), Certificates: certificates},
	}}
}
