//go:build linux

package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// partsVariable lists the directories of the parts, as `make e2e` sets it.
const partsVariable = "ROUTEWATCH_PARTS"

// Part returns the path of a file of the parts: a program, or a CRD of the
// Prometheus operator.
func Part(name string) (string, error) {
	dirs := os.Getenv(partsVariable)
	for _, dir := range filepath.SplitList(dirs) {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is in none of the directories of $%s (%q): run the tests with `make e2e`, which builds it",
		name, partsVariable, dirs)
}

// freePorts returns ports of loopback that nobody listens on. They are outside
// of the range that the kernel gives to clients, or one that tries to connect
// to a server that is down could connect to itself.
func freePorts(ctx context.Context, n int) ([]int, error) {
	var listen net.ListenConfig
	var ports []int
	for range 100 {
		port := 20000 + rand.IntN(10000)
		l, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close() // not before all are chosen, so that they differ
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports of 127.0.0.1 were found from 20000 to 30000", n)
}

func etcdArgs(dir, client string, peers int) []string {
	peer := fmt.Sprintf("http://127.0.0.1:%d", peers)
	return []string{
		"--data-dir=" + filepath.Join(dir, "etcd"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--unsafe-no-fsync", // what a crash would lose is worth nothing
	}
}

// apiserverArgs leave at its default what concerns clients.
func apiserverArgs(dir, etcd string, port int) []string {
	file := func(name string) string { return filepath.Join(dir, name) }
	return []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		// Nobody connects to it; loopback is refused, and without a default
		// route no other would be found.
		"--advertise-address=192.0.2.1",
		"--tls-cert-file=" + file(serverCert), "--tls-private-key-file=" + file(serverKey),
		"--client-ca-file=" + file(caCert),
		"--service-account-issuer=" + issuer,
		"--service-account-signing-key-file=" + file(serviceAccountKey),
		"--service-account-key-file=" + file(serviceAccountKey),
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=Node,RBAC",
	}
}

// controllers returns the arguments of the programs that need only a
// kubeconfig. They run as administrators: what their own roles allow is not
// what is tested here.
func controllers(kubeconfig string) (map[string][]string, error) {
	stages, err := Part("stages.yaml")
	return map[string][]string{
		"kube-controller-manager": {"--kubeconfig=" + kubeconfig, "--secure-port=0", "--leader-elect=false"},
		"kube-scheduler":          {"--kubeconfig=" + kubeconfig, "--secure-port=0", "--leader-elect=false"},
		"kwok": {
			"--kubeconfig=" + kubeconfig, "--config=" + stages, "--server-address=",
			"--manage-nodes-with-annotation-selector=" + KwokNode + "=fake",
		},
	}, err
}
