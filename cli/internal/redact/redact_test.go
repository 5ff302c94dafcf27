package redact_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/cli/internal/redact"
)

func TestText(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "I1123 main.go:212] Running backend.", "I1123 main.go:212] Running backend."},
		{"public key", `{"PublicKey":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="}`, `{"PublicKey":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="}`},
		{"files", "--etcd-keyfile=/etc/flannel/key.pem", "--etcd-keyfile=/etc/flannel/key.pem"},
		{"empty", `token="" password=`, `token="" password=`},
		{"variable", "ETCD_PASSWORD=hunter2 x", "ETCD_PASSWORD=[redacted] x"},
		{"go struct", "{etcdUsername:me etcdPassword:hunter2 help:false}", "{etcdUsername:me etcdPassword:[redacted] help:false}"},
		{"json", `{"token": "hunter 2", "a": 1}`, `{"token": "[redacted]", "a": 1}`},
		{"json with a quote", `{"token": "hun\"ter", "a": 1}`, `{"token": "[redacted]", "a": 1}`},
		{"json in json", `{"a": "{\"token\":\"hunter2\"}"}`, `{"a": "{\"token\":\"[redacted]\"}"}`},
		{"list", `passwords: [hunter2, hunter3] x`, `passwords: [redacted] x`},
		{"yaml", "client-key-data: aHVudGVy\nname: jane", "client-key-data: [redacted]\nname: jane"},
		{"wg", "PrivateKey = 4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8=", "PrivateKey = [redacted]"},
		{"in words", "private key: 4GgaQCy68nzNsUE5aJ9", "private key: [redacted]"},
		{"flag", "--password hunter2 --kube-subnet-mgr", "--password [redacted] --kube-subnet-mgr"},
		{"flag in a list", `["--etcd-password","hunter2"]`, `["--etcd-password","[redacted]"]`},
		{"env", `{"name":"ETCD_PASSWORD","value":"hunter2"}`, `{"name":"ETCD_PASSWORD","value":"[redacted]"}`},
		{"bearer", "got 401 for Bearer abc.def", "got 401 for Bearer [redacted]"},
		{"header", "Authorization: Basic bWU6aHVudGVyMg==\nHost: a", "Authorization: [redacted]\nHost: a"},
		{"url", "GET https://me:hunter2@etcd:2379/v3", "GET https://[redacted]@etcd:2379/v3"},
		{"two ats", "https://me:hun@ter2@etcd/", "https://[redacted]@etcd/"},
		{"no scheme", "dial me:hunter2@etcd", "dial [redacted]@etcd"},
		{"query", "/x?token=hunter2&a=b", "/x?token=[redacted]"},
		{"jwt", "said eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl.", "said [redacted]."},
		{"kubeadm", "join 07401b.f395accd246ae52d", "join [redacted]"},
		{"one hides not the other", "token=password: hunter2", "token=[redacted] [redacted]"},
		{"pem", "a\n-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\nb", "a\n[redacted]\nb"},
		{"pem cut off", "a\n-----BEGIN PRIVATE KEY-----\nAAAA\nBB", "a\n[redacted]"},
		{"pem cut at its head", "AAAA\n-----END PRIVATE KEY-----\nb", "[redacted]\nb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := redact.Text(tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Text (-want +got):\n%s", diff)
			}
			if again, _ := redact.Text(got); strings.Contains(again, "hunter") {
				t.Errorf("a second time: %s", again)
			}
		})
	}
}

func TestText_Counts(t *testing.T) {
	if _, n := redact.Text("token=a password=b c"); n != 2 {
		t.Errorf("found %d, want 2", n)
	}
}

// forms are the ways in which a secret is planted.
var forms = []string{
	"password=%s", "token: %s\n", `"client_secret": "%s"`, `\"apiKey\":\"%s\"`, "--token %s ", "Authorization: Bearer %s\n", " bearer %s",
	"https://me:%s@host/", "-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----", `"name": "PASSWORD", "value": "%s"`, "PrivateKey = %s",
}

var plantable = regexp.MustCompile(`^[A-Za-z0-9+/=_-]{8,64}$`)

func FuzzText(f *testing.F) {
	for i := range forms {
		f.Add("I1123 main.go:212] ", "hunter2hunter2", "\nb", uint(i))
		f.Add(`{"a": "token=`, "aHVudGVyMg==", `", "b": 1}`, uint(i))
		f.Add("token=password: ", "hunter2hunter2", `\`, uint(i))
	}
	f.Fuzz(func(t *testing.T, before, secret, after string, form uint) {
		planted := fmt.Sprintf(forms[form%uint(len(forms))], secret)
		got, n := redact.Text(before + planted + after)
		if !plantable.MatchString(secret) || strings.Contains(secret, "/") && strings.Contains(planted, "://") {
			return // only: it does not panic
		}
		rest := before + strings.Replace(planted, secret, "", 1) + after
		if strings.Contains(rest, secret) || strings.Contains(redact.Mark, secret) {
			return // it would be there anyway
		}
		if strings.Contains(got, secret) || n == 0 {
			t.Errorf("Text(%q) = %q, %d: the secret %q is there", before+planted+after, got, n, secret)
		}
	})
}
