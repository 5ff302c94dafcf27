package main

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/urfave/cli/v2"

	"routewatch/exporter/internal/history"
	"routewatch/exporter/internal/kernel"
	"routewatch/exporter/internal/notify"
	"routewatch/exporter/internal/recorder"
	"routewatch/shared/lease"
)

// The flags. Each has a variable: --web.listen-address is
// ROUTEWATCH_WEB_LISTEN_ADDRESS.
const (
	flagNodeName         = "node-name"
	flagLeases           = "leases"
	flagLeasesFile       = "leases.file"
	flagKubeconfig       = "kubeconfig"
	flagAPIServer        = "kubernetes.api-server"
	flagEtcdEndpoints    = "etcd.endpoints"
	flagEtcdPrefix       = "etcd.prefix"
	flagEtcdCA           = "etcd.cafile"
	flagEtcdCert         = "etcd.certfile"
	flagEtcdKey          = "etcd.keyfile"
	flagEtcdUser         = "etcd.username"
	flagEtcdPassword     = "etcd.password-file"
	flagNetConf          = "flannel.net-conf"
	flagAnnotationPrefix = "flannel.annotation-prefix"
	flagBackend          = "flannel.backend"
	flagNetwork          = "flannel.network"
	flagFamilies         = "flannel.families"
	flagNetNS            = "netns"
	flagGrace            = "grace"
	flagAuditInterval    = "audit-interval"
	flagMaxProblems      = "metrics.max-problems"
	flagOnce             = "once"
	flagReceiveBuffer    = "netlink.receive-buffer"
	flagUnfiltered       = "kernel.unfiltered"
	flagHistoryFile      = "history.file"
	flagHistoryMaxSize   = "history.max-size"
	flagNotifyEvents     = "notify.events"
	flagNotifyCondition  = "notify.node-condition"
	flagRecord           = "record"
	flagRecordMaxSize    = "record.max-size"
	flagListenAddress    = "web.listen-address"
	flagTelemetryPath    = "web.telemetry-path"
	flagWebConfig        = "web.config.file"
	flagPprof            = "web.enable-pprof"
	flagLogLevel         = "log.level"
	flagLogFormat        = "log.format"
	flagVersion          = "version"
)

// defaultPort is routewatch's.
const defaultPort = "10098"

func env(flag string) []string {
	return []string{"ROUTEWATCH_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(flag))}
}

func flags() []cli.Flag {
	return slices.Concat(nodeFlags(), etcdFlags(), flannelFlags(), []cli.Flag{
		&cli.DurationFlag{Name: flagGrace, EnvVars: env(flagGrace), Value: time.Minute,
			Usage: "how long flannel may take to program a new lease, and an object may stay after its lease is gone"},
		&cli.DurationFlag{Name: flagAuditInterval, EnvVars: env(flagAuditInterval), Value: 30 * time.Second,
			Usage: "how often to read the kernel completely although no event asks for it"},
		&cli.IntFlag{Name: flagReceiveBuffer, EnvVars: env(flagReceiveBuffer), Value: kernel.DefaultReceiveBuffer,
			Usage: "`BYTES` to hold kernel events that are not read yet, at most net.core.rmem_max without CAP_NET_ADMIN"},
		&cli.BoolFlag{Name: flagUnfiltered, EnvVars: env(flagUnfiltered), Hidden: true,
			Usage: "have the kernel deliver every event: for measurements, and where its filter is suspected to hide some"},
		&cli.IntFlag{Name: flagMaxProblems, EnvVars: env(flagMaxProblems), Value: 100,
			Usage: "how many broken leases have a metric of their own; the worst come first"},
		&cli.BoolFlag{Name: flagOnce, EnvVars: env(flagOnce),
			Usage: "print one status as JSON and exit: 0 healthy, 1 problems, 2 cannot tell"},
		&cli.PathFlag{Name: flagHistoryFile, EnvVars: env(flagHistoryFile), DefaultText: "none, only in memory",
			Usage: "`FILE` that keeps events and open incidents over a restart; its folder must be writable"},
		&cli.Int64Flag{Name: flagHistoryMaxSize, EnvVars: env(flagHistoryMaxSize), Value: history.DefaultMaxSize,
			Usage: "`BYTES` that the history takes on disk at most; the oldest events go first"},
		&cli.BoolFlag{Name: flagNotifyEvents, EnvVars: env(flagNotifyEvents),
			Usage: "make Kubernetes Events about this Node; needs create and patch of events in the namespace default"},
		&cli.BoolFlag{Name: flagNotifyCondition, EnvVars: env(flagNotifyCondition),
			Usage: "keep the condition " + notify.ConditionType + " of this Node; needs get of nodes and patch of nodes/status"},
		&cli.PathFlag{Name: flagRecord, EnvVars: env(flagRecord), DefaultText: "none",
			Usage: "`FILE` to record all that is judged in, for \"routewatch replay FILE\"; its folder must be writable"},
		&cli.Int64Flag{Name: flagRecordMaxSize, EnvVars: env(flagRecordMaxSize), Value: recorder.DefaultMaxSize,
			Usage: "`BYTES` that the recording takes on disk at most: one half FILE, the other FILE.1, which came before it"},
		&cli.StringSliceFlag{Name: flagListenAddress, EnvVars: env(flagListenAddress),
			Value: cli.NewStringSlice(net.JoinHostPort("127.0.0.1", defaultPort)),
			Usage: "`ADDRESS` to serve on; the port may be left out; give it again for more"},
		&cli.StringFlag{Name: flagTelemetryPath, EnvVars: env(flagTelemetryPath), Value: "/metrics",
			Usage: "`PATH` of the metrics"},
		&cli.PathFlag{Name: flagWebConfig, EnvVars: env(flagWebConfig),
			Usage: "`FILE` that turns on TLS or authentication (Prometheus exporter-toolkit)"},
		&cli.BoolFlag{Name: flagPprof, EnvVars: env(flagPprof),
			Usage: "serve Go's profiles below /debug/pprof/"},
		&cli.StringFlag{Name: flagLogLevel, EnvVars: env(flagLogLevel), Value: "info",
			Usage: strings.Join(promslog.LevelFlagOptions, ", ")},
		&cli.StringFlag{Name: flagLogFormat, EnvVars: env(flagLogFormat), Value: "logfmt",
			Usage: strings.Join(promslog.FormatFlagOptions, ", ")},
		&cli.BoolFlag{Name: flagVersion, Usage: "print the version and exit"},
	})
}

func nodeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagNodeName, EnvVars: append(env(flagNodeName), "NODE_NAME"),
			Usage: "`NAME` of this node in Kubernetes", DefaultText: "the host name in lower case"},
		&cli.StringFlag{Name: flagLeases, EnvVars: env(flagLeases), Value: "auto",
			Usage: "where the leases come from: auto, kubernetes, etcd or file; " +
				"auto is file if --leases.file is given, etcd if --etcd.endpoints is, else kubernetes"},
		&cli.PathFlag{Name: flagLeasesFile, EnvVars: env(flagLeasesFile),
			Usage: "`FILE` with what \"kubectl get nodes -o json\" (or yaml) prints; it is read again when it changes"},
		&cli.PathFlag{Name: flagKubeconfig, EnvVars: env(flagKubeconfig),
			Usage: "`FILE` that says how to reach Kubernetes", DefaultText: "$KUBECONFIG, else the pod's service account, else ~/.kube/config"},
		&cli.StringFlag{Name: flagAPIServer, EnvVars: env(flagAPIServer),
			Usage: "`URL` of the API server, e.g. https://10.0.0.1:6443", DefaultText: "that of the kubeconfig or of the pod"},
		&cli.PathFlag{Name: flagNetNS, EnvVars: env(flagNetNS),
			Usage: "`PATH` of another network namespace to watch, e.g. /var/run/netns/NAME; HTTP stays in this one"},
	}
}

func etcdFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: flagEtcdEndpoints, EnvVars: env(flagEtcdEndpoints),
			Usage: "`URL` of an etcd that flannel keeps its leases in, e.g. https://127.0.0.1:2379; give it again for more"},
		&cli.StringFlag{Name: flagEtcdPrefix, EnvVars: env(flagEtcdPrefix), Value: "/coreos.com/network",
			Usage: "flannel's --etcd-prefix"},
		&cli.PathFlag{Name: flagEtcdCA, EnvVars: env(flagEtcdCA), DefaultText: "the system's",
			Usage: "`FILE` with the certificates that etcd's may be signed by"},
		&cli.PathFlag{Name: flagEtcdCert, EnvVars: env(flagEtcdCert), Usage: "`FILE` with a client certificate for etcd"},
		&cli.PathFlag{Name: flagEtcdKey, EnvVars: env(flagEtcdKey), Usage: "`FILE` with its key"},
		&cli.StringFlag{Name: flagEtcdUser, EnvVars: env(flagEtcdUser), Usage: "`NAME` of etcd's user"},
		&cli.PathFlag{Name: flagEtcdPassword, EnvVars: env(flagEtcdPassword),
			Usage: "`FILE` with its password; read again at each connection"},
	}
}

func flannelFlags() []cli.Flag {
	return []cli.Flag{
		&cli.PathFlag{Name: flagNetConf, EnvVars: env(flagNetConf),
			Usage: "`FILE` with flannel's net-conf.json; read at the start"},
		&cli.StringFlag{Name: flagAnnotationPrefix, EnvVars: env(flagAnnotationPrefix), Value: lease.DefaultPrefix,
			Usage: "flannel's --kube-annotation-prefix"},
		&cli.StringFlag{Name: flagBackend, EnvVars: env(flagBackend), DefaultText: "net-conf, else this node's lease",
			Usage: "flannel's backend, e.g. vxlan"},
		&cli.StringSliceFlag{Name: flagNetwork, EnvVars: env(flagNetwork), DefaultText: "net-conf",
			Usage: "`PREFIX` of flannel's pod network, at most one of each family"},
		&cli.StringSliceFlag{Name: flagFamilies, EnvVars: env(flagFamilies), DefaultText: "net-conf, else this node's annotations",
			Usage: "address families that flannel serves here: ipv4, ipv6"},
	}
}
