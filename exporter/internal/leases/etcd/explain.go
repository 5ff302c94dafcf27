package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// explain says what is wrong with etcd and what to do, for a person.
func (s *Source) explain(err error) error {
	return fmt.Errorf("etcd %s: %s", strings.Join(s.cfg.Endpoints, ","), s.advise(err))
}

func (s *Source) advise(err error) string {
	text := err.Error()
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case errors.Is(err, errSilent):
		return text
	case errors.Is(err, rpctypes.ErrAuthFailed), has("invalid user ID or password"):
		return fmt.Sprintf("it refuses the user %q: see that the name and the password are those of `etcdctl user list`", s.cfg.Username)
	case errors.Is(err, rpctypes.ErrUserEmpty), has("user name is empty"):
		return "it wants a user: give --etcd.username and --etcd.password-file"
	case errors.Is(err, rpctypes.ErrAuthNotEnabled), has("authentication is not enabled"):
		return "it knows no users: leave --etcd.username away"
	case errors.Is(err, rpctypes.ErrPermissionDenied), has("permission denied"):
		return fmt.Sprintf("the user %q may not read %s/: grant it with `etcdctl role grant-permission ROLE --prefix=true read %s/`",
			s.cfg.Username, s.cfg.Prefix, s.cfg.Prefix)
	case has("certificate signed by unknown authority"), has("certificate is not trusted"):
		return "its certificate is of another authority: give the right one with --etcd.cafile"
	case has("certificate is valid for"), has("doesn't contain any IP SANs"), has("not valid for any names"):
		return "its certificate is for another name: give --etcd.endpoints with the name that it is for"
	case has("certificate required"), has("bad certificate"):
		return "it wants a client certificate, or refuses the one given: see --etcd.certfile and --etcd.keyfile"
	case has("first record does not look like a TLS handshake"):
		return "it speaks no TLS: give its address as http://"
	case has("connection refused"):
		return "connection refused: it does not run, or listens elsewhere; see --etcd.endpoints"
	case has("no such host"):
		return "its name is not known: see --etcd.endpoints"
	case s.cfg.TLS != nil && (has("broken pipe") || has("connection reset") || has("error reading server preface") || has("EOF")):
		// With TLS 1.3 a server refuses a client only after the handshake.
		return "it ends the connection: it may want another client certificate; see --etcd.certfile and --etcd.keyfile"
	case has("error reading server preface"), has("malformed HTTP response"), has("EOF"):
		return "it ends the connection: where it wants TLS, give its address as https://"
	case has("no leader"):
		return "it has no leader: see `etcdctl endpoint status --cluster`"
	case errors.Is(err, context.DeadlineExceeded), has("deadline exceeded"):
		return fmt.Sprintf("it did not answer within %s: see `etcdctl endpoint health`", requestTimeout)
	}
	return text
}
