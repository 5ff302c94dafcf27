package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"routewatch/shared/lease"
)

const (
	// listTimeout is for a whole list, answerTimeout for the beginning of the
	// answer to a watch.
	listTimeout   = time.Minute
	answerTimeout = 30 * time.Second
)

// client reads Nodes.
type client struct{ *API }

func newClient(cfg Config) (*client, error) {
	api, err := Connect(cfg, &corev1.Node{}, &corev1.NodeList{})
	if err != nil {
		return nil, err
	}
	return &client{api}, nil
}

// pages lists the Nodes in pages and keeps of each only what is needed:
// thousands of whole ones at once are over 100 MB. A page is only cut where no
// version is asked for: a server's watch cache knows no limit.
func (c *client) pages(ctx context.Context, opts metav1.ListOptions, prefix lease.Prefix) (*corev1.NodeList, error) {
	opts.ResourceVersion, opts.ResourceVersionMatch, opts.Limit, opts.Continue = "", "", pageSize, ""
	all := &corev1.NodeList{}
	for {
		page, err := c.list(ctx, opts)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			all.Items = append(all.Items, *trim(&page.Items[i], prefix))
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			all.ResourceVersion = page.ResourceVersion
			return all, nil
		}
	}
}

// list returns Nodes.
func (c *client) list(ctx context.Context, opts metav1.ListOptions) (*corev1.NodeList, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listTimeout, errNoAnswer)
	defer cancel()
	list := &corev1.NodeList{}
	err := c.Get().Resource("nodes").VersionedParams(&opts, c.Params).Do(ctx).Into(list)
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		err = fmt.Errorf("%w within %s", errNoAnswer, listTimeout)
	}
	return list, err
}

// form is what a watch sends of each Node.
type form string

const (
	whole = form(protobuf + "," + runtime.ContentTypeJSON)
	// metadata leaves out spec and status. A server that does not know this form
	// takes the other, which is named behind it.
	metadata = form(protobuf+";as=PartialObjectMetadata;g=meta.k8s.io;v=v1,") + whole
)

// watch begins a watch, which ends with ctx.
func (c *client) watch(ctx context.Context, opts metav1.ListOptions, send form) (watch.Interface, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(answerTimeout, func() { cancel(errNoAnswer) })
	opts.Watch = true
	w, err := c.Get().Resource("nodes").VersionedParams(&opts, c.Params).SetHeader("Accept", string(send)).Watch(ctx)
	if !late.Stop() || err != nil {
		if errors.Is(context.Cause(ctx), errNoAnswer) {
			err = fmt.Errorf("%w within %s", errNoAnswer, answerTimeout)
		}
		cancel(nil)
		if w != nil {
			w.Stop()
		}
		return nil, err
	}
	return &canceled{w, cancel}, nil
}

// canceled is a watch that frees its context when it is stopped.
type canceled struct {
	watch.Interface
	cancel context.CancelCauseFunc
}

// Stop implements watch.Interface.
func (w *canceled) Stop() {
	w.Interface.Stop()
	w.cancel(nil)
}
