package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/version"
	"github.com/urfave/cli/v2"

	"routewatch/exporter/internal/leases/file"
	"routewatch/exporter/internal/leases/kube"
	"routewatch/shared/lease"
	"routewatch/shared/mend"
)

// The values of --leases.
const (
	sourceAuto       = "auto"
	sourceFile       = "file"
	sourceKubernetes = "kubernetes"
	sourceEtcd       = lease.SourceEtcd
)

var sources = []string{sourceKubernetes, sourceEtcd, sourceFile}

// leaseSource is where the leases come from.
type leaseSource struct {
	name    string
	where   string // path or URL
	why     string // it was chosen
	options lease.Options
	show    mend.Advice // how a person sees the leases
	read    func(context.Context) (lease.Set, error)
	watch   func(context.Context, chan<- lease.Set) error
}

// newLeaseSource chooses the source and prepares it.
func newLeaseSource(c *cli.Context, cfg config) (leaseSource, error) {
	prefix, err := lease.ParsePrefix(c.String(flagAnnotationPrefix))
	if err != nil {
		return leaseSource{}, fmt.Errorf("--%s: %w", flagAnnotationPrefix, err)
	}
	name, why, err := chooseSource(c)
	if err != nil {
		return leaseSource{}, err
	}
	show := mend.ShowNodeLeases(prefix.Key("public-ip"), prefix.Key("backend-data"))
	opts := lease.Options{Self: cfg.judge.Node, Prefix: prefix, Families: cfg.judge.Flannel.Families}
	if name == sourceFile {
		fc := file.Config{Path: c.Path(flagLeasesFile), Options: opts}
		return leaseSource{
			name: name, where: fc.Path, why: why, options: opts, show: show,
			read:  func(context.Context) (lease.Set, error) { return file.Read(fc) },
			watch: func(ctx context.Context, sets chan<- lease.Set) error { return file.Watch(ctx, fc, sets) },
		}, nil
	}
	if name == sourceEtcd {
		return newEtcdSource(c, cfg, why)
	}
	ks, err := kube.New(kube.Config{
		Kubeconfig: c.Path(flagKubeconfig),
		APIServer:  c.String(flagAPIServer),
		Options:    opts,
		UserAgent:  program + "/" + version.Version,
		Log:        cfg.log,
	})
	if err != nil {
		return leaseSource{}, fmt.Errorf("leases from Kubernetes: %w", err)
	}
	return leaseSource{
		name: name, where: ks.Server(), why: why + "; credentials from " + ks.Credentials(), options: opts, show: show,
		read: ks.Read, watch: ks.Watch,
	}, nil
}

// chooseSource says which source the flags ask for, and why.
func chooseSource(c *cli.Context) (name, why string, err error) {
	given := []struct{ source, flag string }{
		{sourceFile, first(c, flagLeasesFile)},
		{sourceEtcd, first(c, flagEtcdEndpoints)},
		{sourceKubernetes, first(c, flagKubeconfig, flagAPIServer)},
	}
	source := c.String(flagLeases)
	for _, g := range given {
		switch {
		case g.source == source && g.flag == "" && source == sourceFile:
			return "", "", fmt.Errorf("there is no lease file: give --%s FILE with what \"kubectl get nodes -o json\" prints", flagLeasesFile)
		case g.source == source && g.flag == "" && source == sourceEtcd:
			return "", "", fmt.Errorf("there is no etcd: give --%s, e.g. https://127.0.0.1:2379", flagEtcdEndpoints)
		case g.flag == "" || g.source == source:
		case source == sourceAuto:
			return g.source, "--" + g.flag + " is given", nil
		case g.source == sourceKubernetes && notifies(c): // it says whom to notify
		case slices.Contains(sources, source):
			return "", "", fmt.Errorf("--%s is %s: expected no --%s with it", flagLeases, source, g.flag)
		}
	}
	switch origin := kube.Origin(""); {
	case slices.Contains(sources, source):
		return source, "--" + flagLeases + " says so", nil
	case source != sourceAuto:
		return "", "", fmt.Errorf("--%s is %q: expected auto, %s", flagLeases, source, strings.Join(sources, ", "))
	case origin != "":
		return sourceKubernetes, "there is " + origin, nil
	}
	return "", "", fmt.Errorf("there is no lease source: give --%s FILE with what \"kubectl get nodes -o json\" prints, "+
		"or --%s FILE, or --%s URL, or run in a pod with a service account", flagLeasesFile, flagKubeconfig, flagEtcdEndpoints)
}

// first returns the first of the flags that has a value, "" if none has.
func first(c *cli.Context, flags ...string) string {
	for _, flag := range flags {
		if c.IsSet(flag) && (c.String(flag) != "" || c.Path(flag) != "") {
			return flag
		}
	}
	return ""
}
