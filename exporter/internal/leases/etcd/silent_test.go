package etcd

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"routewatch/shared/lease"
)

// halfDead answers reads, and takes watches without ever making them, as an
// etcd does that stopped between the two.
type halfDead struct {
	etcdserverpb.UnimplementedKVServer
	etcdserverpb.UnimplementedWatchServer
}

func (halfDead) Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{
		Header: &etcdserverpb.ResponseHeader{Revision: 1},
		Kvs:    []*mvccpb.KeyValue{{Key: []byte(prefix + "/subnets/10.244.1.0-24"), Value: []byte(value("192.168.1.56"))}},
	}, nil
}

func (halfDead) Watch(stream etcdserverpb.Watch_WatchServer) error {
	<-stream.Context().Done()
	return nil
}

func TestWatch_NeverMade(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, halfDead{})
	etcdserverpb.RegisterWatchServer(server, halfDead{})
	go server.Serve(listener)
	t.Cleanup(server.Stop)

	s := New(Config{
		Endpoints: []string{"http://" + listener.Addr().String()}, Prefix: prefix, Self: "node-1",
		Addrs: source().cfg.Addrs,
	})
	s.silence = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	sets := make(chan lease.Set)
	go s.Watch(ctx, sets)
	var last lease.Set
	for !strings.Contains(last.Problem, "does not answer") {
		select {
		case last = <-sets:
		case <-ctx.Done():
			t.Fatalf("etcd is silent, and nothing is said of it: complete %t, problem %q", last.Complete, last.Problem)
		}
	}
	if last.Complete || len(last.Own) != 1 {
		t.Errorf("complete %t with %d leases of its own, though etcd is silent; want the last good leases, and not complete", last.Complete, len(last.Own))
	}
}
