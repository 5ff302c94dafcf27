package kube

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// What kubelets write every few minutes is a Node's status: nine tenths of its
// bytes, and nothing that leases are made of. Of what they are made of, only the
// podCIDRs are not metadata, and the API server lets nobody change those of a
// Node that has some (pkg/apis/core/validation: ValidateNodeUpdate). So a watch
// of metadata is enough while every Node's podCIDRs are known.

// missedNone reports whether the next watch goes on where the last one ended: it
// will hardly come to a Node that the mirror does not know.
func (m *mirror) missedNone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failure.err == nil
}

// complete makes a Node of what a watch of metadata sent. It reports false where
// that takes podCIDRs that the mirror does not know: flannel has a lease for the
// Node, and the Node is new, was made anew under its name, or had none before.
func (m *mirror) complete(e watch.Event) (watch.Event, bool) {
	sent, ok := e.Object.(*metav1.PartialObjectMetadata)
	if !ok { // a whole Node
		return e, true
	}
	n := &corev1.Node{ObjectMeta: sent.ObjectMeta}
	e.Object = n
	if e.Type == watch.Bookmark || e.Type == watch.Deleted {
		return e, true
	}
	m.mu.Lock()
	known, ok := m.nodes[n.Name]
	m.mu.Unlock()
	if ok && known.uid == n.UID && (known.Spec.PodCIDR != "" || len(known.Spec.PodCIDRs) > 0) {
		n.Spec.PodCIDR, n.Spec.PodCIDRs = known.Spec.PodCIDR, known.Spec.PodCIDRs
		return e, true
	}
	return e, len(flannels(n.Annotations, m.prefix)) == 0
}
