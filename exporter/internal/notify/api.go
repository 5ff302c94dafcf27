package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"routewatch/exporter/internal/leases/kube"
)

// What Kubernetes knows routewatch by.
const (
	component = "routewatch"
	manager   = "routewatch" // owner of the fields in managedFields
)

// eventNamespace is where Events about Nodes are, which have no namespace.
const eventNamespace = metav1.NamespaceDefault

// writeTimeout is for one request.
const writeTimeout = 10 * time.Second

// server is what is asked of an API server. Its errors are client-go's.
type server interface {
	// create makes the Event with a count; AlreadyExists if it is there.
	create(ctx context.Context, e Event, count int32) error
	// update changes the Event and returns its count; with count 0 this stays
	// as it is. NotFound if it is not there, or no longer: they live an hour.
	update(ctx context.Context, e Event, count int32) (int32, error)
	// condition returns the Node's condition, zero if it has none.
	condition(ctx context.Context) (Condition, error)
	setCondition(ctx context.Context, c Condition) error
}

// api is a server.
type api struct {
	*kube.API
	node string
}

func connect(cfg Config) (*api, error) {
	a, err := kube.Connect(kube.Config{Kubeconfig: cfg.Kubeconfig, APIServer: cfg.APIServer, UserAgent: cfg.UserAgent},
		&corev1.Event{}, &corev1.Node{})
	if err != nil {
		return nil, err
	}
	return &api{API: a, node: cfg.Node}, nil
}

func kind(warning bool) string {
	if warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

func (a *api) create(ctx context.Context, e Event, count int32) error {
	event := &corev1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta: metav1.ObjectMeta{Name: e.Name, Namespace: eventNamespace},
		// As a kubelet does: `kubectl describe node` looks for Events whose uid
		// is the Node's, or its name, and that have no namespace here.
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: a.node, UID: types.UID(a.node)},
		Reason:         e.Reason, Type: kind(e.Warning), Message: e.Message, Count: count,
		FirstTimestamp: metav1.NewTime(e.First), LastTimestamp: metav1.NewTime(e.Last),
		Source:              corev1.EventSource{Component: component, Host: a.node},
		ReportingController: component, ReportingInstance: a.node,
	}
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	r := a.Post().Namespace(eventNamespace).Resource("events").SetHeader("Content-Type", runtime.ContentTypeJSON)
	return a.send(ctx, r, body, nil)
}

func (a *api) update(ctx context.Context, e Event, count int32) (int32, error) {
	patch := map[string]any{"reason": e.Reason, "type": kind(e.Warning), "message": e.Message, "lastTimestamp": metav1.NewTime(e.Last)}
	if count > 0 {
		patch["count"] = count
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return 0, err
	}
	var is corev1.Event
	err = a.send(ctx, a.Patch(types.MergePatchType).Namespace(eventNamespace).Resource("events").Name(e.Name), body, &is)
	return is.Count, err
}

func (a *api) condition(ctx context.Context) (Condition, error) {
	var node corev1.Node
	if err := a.send(ctx, a.Get().Resource("nodes").Name(a.node), nil, &node); err != nil {
		return Condition{}, err
	}
	for _, c := range node.Status.Conditions {
		if string(c.Type) == ConditionType {
			return Condition{ConditionType, Status(c.Status), c.Reason, c.Message, c.LastHeartbeatTime.UTC(), c.LastTransitionTime.UTC()}, nil
		}
	}
	return Condition{}, nil
}

// setCondition changes this condition and no other: a strategic merge matches
// conditions by their type.
func (a *api) setCondition(ctx context.Context, c Condition) error {
	patch := corev1.NodeStatus{Conditions: []corev1.NodeCondition{{
		Type: ConditionType, Status: corev1.ConditionStatus(c.Status), Reason: c.Reason, Message: c.Message,
		LastHeartbeatTime: metav1.NewTime(c.LastHeartbeatTime), LastTransitionTime: metav1.NewTime(c.LastTransitionTime),
	}}}
	body, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": patch.Conditions}})
	if err != nil {
		return err
	}
	return a.send(ctx, a.Patch(types.StrategicMergePatchType).Resource("nodes").Name(a.node).SubResource("status"), body, nil)
}

var errNoAnswer = errors.New("no answer")

// send sends a request once: whoever calls knows better when to try again.
func (a *api) send(ctx context.Context, r *rest.Request, body []byte, into runtime.Object) error {
	ctx, cancel := context.WithTimeoutCause(ctx, writeTimeout, errNoAnswer)
	defer cancel()
	r = r.MaxRetries(0)
	if body != nil {
		r = r.Param("fieldManager", manager).Body(body)
	}
	result := r.Do(ctx)
	err := result.Error()
	if err == nil && into != nil {
		err = result.Into(into)
	}
	if err != nil && errors.Is(context.Cause(ctx), errNoAnswer) {
		err = fmt.Errorf("%w within %s", errNoAnswer, writeTimeout)
	}
	return err
}

// The rights of what is written.
var (
	eventRight = kube.Right{
		Verb: "create", Resource: "events", Flags: "-n " + eventNamespace, Needs: "create, patch of events in the namespace " + eventNamespace,
		Grant: "apply the Role of deploy/routewatch.yaml, or leave out --notify.events,",
	}
	conditionRight = kube.Right{
		Verb: "patch", Resource: "nodes/status", Flags: "--subresource=status", Needs: "get of nodes and patch of nodes/status",
		Grant: "apply deploy/node-condition, or leave out --notify.node-condition,",
	}
)

// explain says what went wrong, and which right is missing if one is.
func (a *api) explain(right kube.Right, err error) error {
	if errors.Is(err, errNoAnswer) {
		return fmt.Errorf("API server %s: %w: is there a route to it?", a.Server(), err)
	}
	return a.Explain(right, err)
}

// permanent reports whether the same request will never succeed.
func permanent(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err)
}
