//go:build linux

package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// issuer of the tokens of service accounts.
const issuer = "https://kubernetes.default.svc"

// user is one in a kubeconfig. JSON is YAML, so these files are written as JSON.
type user struct {
	ClientCertificateData []byte `json:"client-certificate-data,omitempty"`
	ClientKeyData         []byte `json:"client-key-data,omitempty"`
	TokenFile             string `json:"tokenFile,omitempty"`
}

func (p *pki) adminUser() user {
	return user{ClientCertificateData: p.adminPEM[0], ClientKeyData: p.adminPEM[1]}
}

// AdminKubeconfig is the path of one that may do everything.
func (c *Cluster) AdminKubeconfig() string { return filepath.Join(c.dir, "admin.kubeconfig") }

// CA is the path of the certificate that signed the API server's.
func (c *Cluster) CA() string { return filepath.Join(c.dir, caCert) }

// TokenKubeconfig writes a kubeconfig at path whose token is read from a file,
// as a pod's is.
func (c *Cluster) TokenKubeconfig(path, tokenFile string) error {
	return c.writeKubeconfig(path, user{TokenFile: tokenFile})
}

func (c *Cluster) writeKubeconfig(path string, u user) error {
	named := func(key string, value any) []any { return []any{map[string]any{"name": "lab", key: value}} }
	b, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "lab",
		"clusters": named("cluster", map[string]string{"server": c.URL, "certificate-authority": c.CA()}),
		"users":    named("user", u),
		"contexts": named("context", map[string]string{"cluster": "lab", "user": "lab"}),
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// Token asks the API server for a token of a service account. Kubernetes gives
// none for less than ten minutes.
func (c *Cluster) Token(ctx context.Context, namespace, name string) (string, error) {
	request := map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"spec": map[string]any{"expirationSeconds": 600},
	}
	var answer struct{ Status struct{ Token string } }
	path := fmt.Sprintf("/api/v1/namespaces/%s/serviceaccounts/%s/token", namespace, name)
	if err := c.Do(ctx, http.MethodPost, path, request, &answer); err != nil {
		return "", fmt.Errorf("token of %s/%s: %w", namespace, name, err)
	}
	return answer.Status.Token, nil
}

// leeway is how much longer than it says the API server accepts a token
// (jwt.DefaultLeeway of go-jose).
const leeway = time.Minute

// ShortToken is a Token that the API server accepts for no longer than
// lifetime: the claims are its own, and so is the key that signs them, but not
// the time.
func (c *Cluster) ShortToken(ctx context.Context, namespace, name string, lifetime time.Duration) (string, error) {
	token, err := c.Token(ctx, namespace, name)
	if err != nil {
		return "", err
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("the API server's token has %d parts, expected 3", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", err
	}
	claims["exp"] = json.RawMessage(fmt.Sprint(time.Now().Add(lifetime - leeway).Unix()))
	if payload, err = json.Marshal(claims); err != nil {
		return "", err
	}
	return sign(c.pki.signer, parts[0]+"."+base64.RawURLEncoding.EncodeToString(payload))
}

// sign appends an ES256 signature (RFC 7518, 3.4).
func sign(key *ecdsa.PrivateKey, signed string) (string, error) {
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
