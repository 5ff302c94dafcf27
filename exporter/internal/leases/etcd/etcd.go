// Package etcd is the lease source that watches the keys that flannel's etcd
// subnet manager writes, etcd v3.
//
// All keys are listed at one revision and watched from the next. What breaks
// the watch (a compaction, a lost connection, a server that does not answer)
// has everything listed anew, so nothing is missed. Until that succeeds the Set
// is the last good one with Complete false:
//
//   - A lost connection is noticed within two seconds.
//   - A server that hangs is noticed within 20 s: it is asked for its progress
//     every 5 s, and has 15 s to say anything.
package etcd

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"routewatch/exporter/internal/leases"
	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

const (
	// coalesce is how long after the first change the next Set is made.
	coalesce = 100 * time.Millisecond
	// look is how often the connection is looked at although nothing happens.
	look = time.Second
	// refresh is how often the node's addresses are read anew, which tell its
	// own lease.
	refresh = leases.Resend

	requestTimeout = 5 * time.Second
	askProgress    = 5 * time.Second
	maxSilence     = 15 * time.Second
	minBackoff     = time.Second
	maxBackoff     = 15 * time.Second
)

// Config says which etcd to watch and how.
type Config struct {
	Endpoints []string // URLs
	Prefix    string   // of flannel's keys, without a slash at the end
	TLS       *tls.Config
	Username  string
	// Password is asked for at each connection; nil without a Username.
	Password func() (string, error)
	Self     string
	// Families are those that flannel serves; none: those of <prefix>/config.
	Families []netstate.Family
	// Addrs returns the addresses of this node's devices.
	Addrs func() ([]netip.Addr, error)
	Log   *slog.Logger
}

// Source watches keys. New returns one.
type Source struct {
	cfg     Config
	silence time.Duration // maxSilence but in tests
}

// New does not connect yet.
func New(cfg Config) *Source {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{cfg: cfg, silence: maxSilence}
}

// Where names the servers, for a person.
func (s *Source) Where() string {
	return strings.Join(s.cfg.Endpoints, ",") + " " + s.cfg.Prefix
}

// Read lists the keys once. With an error, the Set says the same in its Problem
// and is not Complete.
func (s *Source) Read(ctx context.Context) (lease.Set, error) {
	keep := leases.NewKeeper(lease.SourceEtcd, s.cfg.Self, nil)
	content, err := s.readOnce(ctx)
	if err == nil {
		var set lease.Set
		if set, err = s.set(content); err == nil {
			now := time.Now()
			keep.Take(now, now, set)
			return keep.Set(), nil
		}
	}
	keep.Fail(time.Now(), err)
	return keep.Set(), err
}

func (s *Source) readOnce(ctx context.Context) (content, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return content{}, s.explain(err)
	}
	defer client.Close()
	content, _, err := s.list(ctx, client)
	if err != nil {
		return content, s.explain(err)
	}
	return content, nil
}

// connect makes a client; with a user name it also logs in.
func (s *Source) connect(ctx context.Context) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints: s.cfg.Endpoints, TLS: s.cfg.TLS, Username: s.cfg.Username, Context: ctx,
		DialTimeout: requestTimeout, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: requestTimeout,
		MaxUnaryRetries: 1, // see refusal
		Logger:          zap.NewNop(),
		DialOptions:     []grpc.DialOption{grpc.WithUserAgent("routewatch-exporter")},
	}
	if s.cfg.Password != nil {
		var err error
		if cfg.Password, err = s.cfg.Password(); err != nil {
			return nil, err
		}
	}
	return clientv3.New(cfg)
}

// content is all that is below the prefix.
type content struct {
	keys   map[string][]byte // below /subnets/, by the rest of the key
	config []byte            // net-conf.json; nil: none
}

func (s *Source) subnets() string { return s.cfg.Prefix + "/subnets/" }
func (s *Source) config() string  { return s.cfg.Prefix + "/config" }

// list reads everything at one revision.
func (s *Source) list(ctx context.Context, client *clientv3.Client) (content, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if !connected(ctx, client) {
		return content{}, 0, refusal(ctx, client)
	}
	answer, err := client.Get(ctx, s.cfg.Prefix+"/", clientv3.WithPrefix())
	if err != nil {
		return content{}, 0, err
	}
	c := content{keys: map[string][]byte{}}
	for _, kv := range answer.Kvs {
		s.put(&c, string(kv.Key), kv.Value)
	}
	return c, answer.Header.Revision, nil
}

// connected waits until a connection is made or refused.
func connected(ctx context.Context, client *clientv3.Client) bool {
	conn := client.ActiveConnection()
	conn.Connect()
	for {
		switch state := conn.GetState(); {
		case state == connectivity.Ready:
			return true
		case state == connectivity.TransientFailure, !conn.WaitForStateChange(ctx, state):
			return false
		}
	}
}

// refusal is why there is no connection. etcd's client would try until the time
// is over and then say only that; gRPC itself says why.
func refusal(ctx context.Context, client *clientv3.Client) error {
	_, err := etcdserverpb.NewKVClient(client.ActiveConnection()).Range(ctx, &etcdserverpb.RangeRequest{Key: []byte("x")})
	if err == nil {
		return errRelist // meanwhile there is one
	}
	return err
}

// put takes a key over, if it matters; a nil value removes it.
func (s *Source) put(c *content, key string, value []byte) {
	if key == s.config() {
		c.config = value
		return
	}
	name, ok := strings.CutPrefix(key, s.subnets())
	switch {
	case !ok:
	case value == nil:
		delete(c.keys, name)
	default:
		c.keys[name] = value
	}
}

// set makes a Set of what was read.
func (s *Source) set(c content) (lease.Set, error) {
	opts := lease.EtcdOptions{Self: s.cfg.Self, Families: s.cfg.Families}
	var err error
	if opts.Addrs, err = s.cfg.Addrs(); err != nil {
		return lease.Set{}, fmt.Errorf("the addresses of this node, which tell its own lease, cannot be read: %w", err)
	}
	var skipped []lease.Skipped
	if len(opts.Families) == 0 && c.config != nil {
		conf, err := expect.ReadNetConf(strings.NewReader(string(c.config)))
		if err != nil {
			skipped = append(skipped, lease.Skipped{Node: s.config(), Reason: "says nothing of the families: " + err.Error()})
		}
		opts.Families = conf.Families
	}
	kvs := make([]lease.KeyValue, 0, len(c.keys))
	for key, value := range c.keys {
		kvs = append(kvs, lease.KeyValue{Key: key, Value: value})
	}
	set := lease.FromEtcd(kvs, opts)
	set.Skipped = append(skipped, set.Skipped...)
	return set, nil
}
