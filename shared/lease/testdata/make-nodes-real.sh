#!/usr/bin/env bash
# Makes nodes-real.json, nodes-real.yaml and nodes-real-ipv4.json: what
# `kubectl get nodes` prints of Nodes in a real API server.
#
#   make-nodes-real.sh BIN    BIN holds etcd, kube-apiserver and kubectl
#
# It starts etcd and kube-apiserver on loopback, creates node-1 to node-4 and a
# control-plane Node that flannel never touched, annotates the four as flannel's
# vxlan backend does (v0.28.10, pkg/subnet/kube/kube.go: a strategic merge patch
# of the status subresource), and stops both again. It needs openssl, for a key.
set -euo pipefail

bin=$(cd "${1:-${BIN:?give the directory of etcd, kube-apiserver and kubectl}}" && pwd)
out=$(cd "$(dirname "$0")" && pwd)
etcd=http://127.0.0.1:${ETCD_PORT:-23790} etcd_peer=http://127.0.0.1:${ETCD_PEER_PORT:-23800}
api_port=${API_PORT:-26443}

dir=$(mktemp -d)
etcd_pid='' api_pid=''
stop() { # the API server first: it hangs in its shutdown once etcd is gone
	local pid
	for pid in $api_pid $etcd_pid; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	rm -rf "$dir"
}
trap stop EXIT

"$bin/etcd" --data-dir "$dir/etcd" --log-level error \
	--listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
	--listen-peer-urls "$etcd_peer" --initial-advertise-peer-urls "$etcd_peer" \
	--initial-cluster "default=$etcd_peer" >"$dir/etcd.log" 2>&1 &
etcd_pid=$!

token=$(openssl rand -hex 16)
echo "$token,admin,admin,system:masters" >"$dir/tokens"
openssl genrsa -out "$dir/sa.key" 2048 2>/dev/null
"$bin/kube-apiserver" --etcd-servers "$etcd" \
	--bind-address 127.0.0.1 --advertise-address 192.168.1.55 --secure-port "$api_port" --cert-dir "$dir/certs" \
	--service-cluster-ip-range 10.96.0.0/16 --service-account-issuer https://kubernetes.default.svc \
	--service-account-key-file "$dir/sa.key" --service-account-signing-key-file "$dir/sa.key" \
	--token-auth-file "$dir/tokens" --authorization-mode RBAC >"$dir/api.log" 2>&1 &
api_pid=$!

kube() {
	"$bin/kubectl" --kubeconfig /dev/null --cache-dir "$dir/cache" --server "https://127.0.0.1:$api_port" \
		--insecure-skip-tls-verify --token "$token" "$@"
}
tries=120
until kube get --raw /readyz >/dev/null 2>&1; do
	if ! kill -0 "$api_pid" 2>/dev/null || [ $((tries -= 1)) = 0 ]; then
		echo "kube-apiserver did not become ready; the end of its log:" >&2
		tail -n 20 "$dir/api.log" "$dir/etcd.log" >&2
		exit 1
	fi
	sleep 0.5
done

# node NAME N HOST FAMILIES: the Node as its kubelet and the controllers keep
# it, with the pod subnets number N and addresses that end in HOST.
node() {
	local name=$1 n=$2 host=$3 cidrs addresses role=''
	cidrs="\"10.244.$n.0/24\""
	addresses="{\"type\": \"InternalIP\", \"address\": \"192.168.1.$host\"}"
	if [ "$4" = dual ]; then
		cidrs+=", \"fd00:10:244:$n::/64\""
		cidrs=${cidrs/:0::/::} # the canonical form, which the API server asks for
		addresses+=", {\"type\": \"InternalIP\", \"address\": \"fd00:192:168:1::$host\"}"
	fi
	if [ "$n" = 0 ]; then
		role=', "node-role.kubernetes.io/control-plane": ""'
	fi
	kube create -f - >/dev/null <<-EOF
		{"apiVersion": "v1", "kind": "Node",
		 "metadata": {
		  "name": "$name",
		  "annotations": {"node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true"},
		  "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/hostname": "$name", "kubernetes.io/os": "linux"$role}},
		 "spec": {"podCIDR": "10.244.$n.0/24", "podCIDRs": [$cidrs]}}
	EOF
	kube patch node "$name" --subresource status --patch "$(status "$name" "$n" "$addresses")" >/dev/null
}

# status NAME N ADDRESSES: what a kubelet reports, at a fixed time so that two
# runs differ only in what the API server itself makes (uid, times, versions).
status() {
	local name=$1 n=$2 addresses=$3
	local beat='"lastHeartbeatTime": "2026-11-23T08:00:00Z", "lastTransitionTime": "2026-11-23T07:30:00Z"'
	cat <<-EOF
		{"status": {
		 "addresses": [$addresses, {"type": "Hostname", "address": "$name"}],
		 "allocatable": {"cpu": "4", "ephemeral-storage": "45273155432", "memory": "8025864Ki", "pods": "110"},
		 "capacity": {"cpu": "4", "ephemeral-storage": "49122348Ki", "memory": "8128264Ki", "pods": "110"},
		 "conditions": [
		  {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory", "message": "kubelet has sufficient memory available", $beat},
		  {"type": "DiskPressure", "status": "False", "reason": "KubeletHasNoDiskPressure", "message": "kubelet has no disk pressure", $beat},
		  {"type": "PIDPressure", "status": "False", "reason": "KubeletHasSufficientPID", "message": "kubelet has sufficient PID available", $beat},
		  {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status", $beat}],
		 "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
		 "images": [
		  {"names": ["registry.example/flannel/flannel:v0.28.10"], "sizeBytes": 33854431},
		  {"names": ["registry.example/coredns/coredns:v1.13.1"], "sizeBytes": 23548920},
		  {"names": ["registry.example/pause:3.10.1"], "sizeBytes": 320448}],
		 "nodeInfo": {
		  "architecture": "amd64", "operatingSystem": "linux", "osImage": "Debian GNU/Linux 12 (bookworm)",
		  "kernelVersion": "6.1.0-41-amd64", "containerRuntimeVersion": "containerd://2.2.0",
		  "kubeletVersion": "v1.37.2", "kubeProxyVersion": "",
		  "bootID": "00000000-0000-4000-8000-00000000000$n", "machineID": "0000000000000000000000000000000$n",
		  "systemUUID": "00000000-0000-4000-9000-00000000000$n"}}}
	EOF
}

# flannel NAME HOST MAC [MAC6]: what flanneld writes into its own Node; MAC6 for dual stack.
flannel() {
	local name=$1 host=$2 mac=$3 mac6=${4-} v6=''
	if [ -n "$mac6" ]; then
		v6="\"flannel.alpha.coreos.com/backend-v6-data\": \"{\\\"VNI\\\":1,\\\"VtepMAC\\\":\\\"$mac6\\\"}\",
		    \"flannel.alpha.coreos.com/public-ipv6\": \"fd00:192:168:1::$host\","
	fi
	kube patch node "$name" --subresource status --patch "$(cat <<-EOF
		{"metadata": {"annotations": {
		  "flannel.alpha.coreos.com/backend-data": "{\"VNI\":1,\"VtepMAC\":\"$mac\"}",
		  "flannel.alpha.coreos.com/backend-type": "vxlan",
		  "flannel.alpha.coreos.com/kube-subnet-manager": "true", $v6
		  "flannel.alpha.coreos.com/public-ip": "192.168.1.$host"}},
		 "status": {"conditions": [{"type": "NetworkUnavailable", "status": "False",
		  "reason": "FlannelIsUp", "message": "Flannel is running on this node",
		  "lastHeartbeatTime": "2026-11-23T07:30:30Z", "lastTransitionTime": "2026-11-23T07:30:30Z"}]}}
	EOF
	)" >/dev/null
}

# cluster FAMILIES: the five Nodes of a dual-stack ("dual") or an "ipv4" cluster.
cluster() {
	local -a mac=('' 12:c6:65:89:b4:e3 82:3e:1f:5a:07:c4 fe:90:2b:d1:6e:38 4a:0d:c7:73:f2:91)
	local -a mac6=('' 6e:54:b8:2f:1d:a0 c2:a7:03:9e:48:5b 36:f1:dc:60:85:17 da:2c:7a:e4:0b:d6)
	local n
	node control-plane-1 0 55 "$1"
	for n in 1 2 3 4; do
		node "node-$n" "$n" "$((55 + n))" "$1"
		if [ "$1" = dual ]; then
			flannel "node-$n" "$((55 + n))" "${mac[n]}" "${mac6[n]}"
		else
			flannel "node-$n" "$((55 + n))" "${mac[n]}"
		fi
	done
	kube taint nodes --all node.kubernetes.io/not-ready- >/dev/null # as the controller manager does
}

cluster dual
kube get nodes -o json >"$out/nodes-real.json"
kube get nodes -o yaml >"$out/nodes-real.yaml"
kube delete nodes --all >/dev/null
cluster ipv4
kube get nodes -o json >"$out/nodes-real-ipv4.json"
