package kube

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"routewatch/shared/lease"
)

// trim returns the part of a Node that leases are made of, as a Node.
//
// Neither virtual nodes nor Windows nodes need more: as for flannel itself, a
// virtual one is a Node without flannel's annotations, and one with Windows has
// an empty VtepMAC until it is ready.
func trim(n *corev1.Node, prefix lease.Prefix) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:              n.Name,
			UID:               n.UID,
			ResourceVersion:   n.ResourceVersion,
			Annotations:       flannels(n.Annotations, prefix),
			CreationTimestamp: n.CreationTimestamp,
			DeletionTimestamp: n.DeletionTimestamp,
		},
		Spec: corev1.NodeSpec{PodCIDR: n.Spec.PodCIDR, PodCIDRs: n.Spec.PodCIDRs},
	}
}

// slim returns the same part as the Node that shared/lease reads.
func slim(n *corev1.Node, prefix lease.Prefix) lease.Node {
	out := lease.Node{
		Metadata: lease.Metadata{
			Name:              n.Name,
			Annotations:       flannels(n.Annotations, prefix),
			CreationTimestamp: n.CreationTimestamp.Time,
		},
		Spec: lease.Spec{PodCIDR: n.Spec.PodCIDR, PodCIDRs: slices.Clone(n.Spec.PodCIDRs)},
	}
	if n.DeletionTimestamp != nil {
		out.Metadata.DeletionTimestamp = n.DeletionTimestamp.Time
	}
	return out
}

// flannels returns those of the annotations that are flannel's.
func flannels(annotations map[string]string, prefix lease.Prefix) map[string]string {
	out := make(map[string]string, 6)
	for k, v := range annotations {
		if strings.HasPrefix(k, prefix.Key("")) {
			out[k] = v
		}
	}
	return out
}

func sameNode(a, b *lease.Node) bool {
	return maps.Equal(a.Metadata.Annotations, b.Metadata.Annotations) &&
		a.Metadata.CreationTimestamp.Equal(b.Metadata.CreationTimestamp) &&
		a.Metadata.DeletionTimestamp.Equal(b.Metadata.DeletionTimestamp) &&
		a.Spec.PodCIDR == b.Spec.PodCIDR && slices.Equal(a.Spec.PodCIDRs, b.Spec.PodCIDRs)
}
