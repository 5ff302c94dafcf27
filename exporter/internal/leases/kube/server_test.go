package kube

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// server is an API server that has Nodes and nothing else. It lists and
// watches as a real one does, in JSON and in protobuf.
type server struct {
	codecs serializer.CodecFactory

	mu      sync.Mutex
	nodes   map[string]*corev1.Node
	version int
	oldest  int // watches from before are gone
	history []watch.Event
	news    chan struct{} // closed when anything changed
	cut     chan struct{} // closed to break every watch

	// What it does wrong.
	dead       bool           // does not run yet
	old        bool           // before 1.32: cannot list in a watch
	mute       bool           // answers nothing at all
	still      bool           // sends no more events, not even bookmarks
	brief      bool           // ends each watch at once
	refuse     map[string]int // verb -> HTTP status
	tokens     []string       // that are good; none: everybody may
	seen       map[string]int // requests by verb, "list in watch" being one
	slow       time.Duration  // before each of the initial Nodes of a watch
	plain      bool           // does not know the form of metadata
	version410 bool           // tells of an expired version by HTTP status, not by an event
}

func newServer(nodes ...*corev1.Node) *server {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Node{}, &corev1.NodeList{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		panic(err)
	}
	s := &server{
		codecs: serializer.NewCodecFactory(scheme), nodes: map[string]*corev1.Node{}, version: 1,
		news: make(chan struct{}), cut: make(chan struct{}), refuse: map[string]int{}, seen: map[string]int{},
	}
	s.put(nodes...)
	return s
}

// with changes the server.
func (s *server) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.news)
	s.news = make(chan struct{})
}

// put adds or changes Nodes.
func (s *server) put(nodes ...*corev1.Node) {
	s.with(func() {
		for _, n := range nodes {
			s.version++
			n = n.DeepCopy()
			n.ResourceVersion = strconv.Itoa(s.version)
			event := watch.Event{Type: watch.Modified, Object: n}
			if s.nodes[n.Name] == nil {
				event.Type = watch.Added
			}
			s.nodes[n.Name] = n
			s.history = append(s.history, event)
		}
	})
}

func (s *server) remove(names ...string) {
	s.with(func() {
		for _, name := range names {
			s.version++
			n := s.nodes[name].DeepCopy()
			n.ResourceVersion = strconv.Itoa(s.version)
			delete(s.nodes, name)
			s.history = append(s.history, watch.Event{Type: watch.Deleted, Object: n})
		}
	})
}

// compact forgets the history.
func (s *server) compact() { s.with(func() { s.version++; s.oldest, s.history = s.version, nil }) }

// bookmark tells every watch the current version.
func (s *server) bookmark() {
	s.with(func() {
		s.version++
		s.history = append(s.history, watch.Event{Type: watch.Bookmark, Object: mark(s.version)})
	})
}

// breakWatches cuts the connection of every watch.
func (s *server) breakWatches() {
	s.with(func() { close(s.cut); s.cut = make(chan struct{}) })
}

func (s *server) count(verb string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[verb]
}

func mark(version int) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(version)}}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	verb := "list"
	if q.Get("watch") != "" {
		verb = "watch"
	}
	listing := q.Get("sendInitialEvents") == "true"
	s.mu.Lock()
	name := verb
	if listing {
		name = "list in watch"
	}
	s.seen[name]++
	if asksMetadata(r) {
		s.seen["metadata"]++
	}
	refuse, tokens, mute, old := s.refuse[verb], s.tokens, s.mute, s.old
	asked, _ := strconv.Atoi(q.Get("resourceVersion"))
	future := asked > s.version
	s.mu.Unlock()
	switch token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); {
	case mute:
		<-r.Context().Done()
	case len(tokens) > 0 && !slices.Contains(tokens, token):
		s.status(w, r, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	case refuse == http.StatusForbidden:
		s.status(w, r, refuse, metav1.StatusReasonForbidden,
			fmt.Sprintf(`nodes is forbidden: User "system:serviceaccount:routewatch:routewatch" cannot %s resource "nodes" in API group "" at the cluster scope`, verb))
	case refuse != 0:
		s.status(w, r, refuse, metav1.StatusReasonInternalError, "this server is unwell")
	case r.URL.Path != "/api/v1/nodes":
		s.status(w, r, http.StatusNotFound, metav1.StatusReasonNotFound, "not found")
	case future:
		s.answer(w, r, &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGatewayTimeout, Reason: metav1.StatusReasonTimeout,
			Message: "Too large resource version", Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}}})
	case verb == "list":
		s.list(w, r)
	case listing && old:
		s.status(w, r, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
	default:
		s.watch(w, r, listing)
	}
}

// media returns how the client wants to be answered.
func (s *server) media(r *http.Request) runtime.SerializerInfo {
	accepted, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	accepted, _, _ = strings.Cut(accepted, ";")
	info, ok := runtime.SerializerInfoForMediaType(s.codecs.SupportedMediaTypes(), accepted)
	if !ok {
		panic("no serializer for " + accepted)
	}
	return info
}

func asksMetadata(r *http.Request) bool {
	first, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	return strings.HasSuffix(first, ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
}

// encodeMetadata encodes the metadata of a Node; a Status stays what it is.
func (s *server) encodeMetadata(info runtime.SerializerInfo, obj runtime.Object) []byte {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return s.encode(info, obj)
	}
	version := schema.GroupVersion{Group: metav1.GroupName, Version: "v1"}
	b, err := runtime.Encode(s.codecs.EncoderForVersion(info.Serializer, version), &metav1.PartialObjectMetadata{ObjectMeta: n.ObjectMeta})
	if err != nil {
		panic(err)
	}
	return b
}

func (s *server) encode(info runtime.SerializerInfo, obj runtime.Object) []byte {
	// The encoder writes the kind into what it encodes.
	b, err := runtime.Encode(s.codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), obj.DeepCopyObject())
	if err != nil {
		panic(err)
	}
	return b
}

func (s *server) status(w http.ResponseWriter, r *http.Request, code int, reason metav1.StatusReason, message string) {
	s.answer(w, r, &metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message})
}

func (s *server) answer(w http.ResponseWriter, r *http.Request, status *metav1.Status) {
	info := s.media(r)
	w.Header().Set("Content-Type", info.MediaType)
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(s.encode(info, status))
}

func (s *server) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	list := &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
	names := slices.Sorted(maps.Keys(s.nodes))
	if after := r.URL.Query().Get("continue"); after != "" {
		names = names[slices.Index(names, after)+1:]
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if r.URL.Query().Get("resourceVersion") == "0" {
		limit = 0 // a watch cache ignores it
	}
	if limit > 0 && len(names) > limit {
		names = names[:limit]
		list.Continue = names[limit-1]
	}
	for _, name := range names {
		list.Items = append(list.Items, *s.nodes[name])
	}
	s.mu.Unlock()
	info := s.media(r)
	w.Header().Set("Content-Type", info.MediaType)
	_, _ = w.Write(s.encode(info, list))
}

func (s *server) watch(w http.ResponseWriter, r *http.Request, listing bool) {
	from, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	s.mu.Lock()
	cut, gone, by410, brief, slow := s.cut, from < s.oldest && !listing, s.version410, s.brief, s.slow
	encode := s.encode
	if asksMetadata(r) && !s.plain {
		encode = s.encodeMetadata
	}
	var events []watch.Event
	if listing {
		from = s.version
		for _, n := range s.nodes {
			events = append(events, watch.Event{Type: watch.Added, Object: n})
		}
		end := mark(from)
		end.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
		events = append(events, watch.Event{Type: watch.Bookmark, Object: end})
	}
	s.mu.Unlock()
	expired := &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old resource version"}
	if gone && by410 {
		s.status(w, r, http.StatusGone, expired.Reason, expired.Message)
		return
	}
	if gone {
		events = append(events, watch.Event{Type: watch.Error, Object: expired})
	}
	info := s.media(r)
	w.Header().Set("Content-Type", info.MediaType+";stream=watch")
	flusher := w.(http.Flusher)
	flusher.Flush()
	if brief && !listing {
		return
	}
	frames := info.StreamSerializer.NewFrameWriter(w)
	for {
		for _, e := range events {
			if listing && slow > 0 {
				flusher.Flush()
				time.Sleep(slow)
			}
			event := &metav1.WatchEvent{Type: string(e.Type), Object: runtime.RawExtension{Raw: encode(info, e.Object)}}
			if err := info.StreamSerializer.Encode(event, frames); err != nil {
				return
			}
		}
		slow = 0
		flusher.Flush()
		if gone {
			return
		}
		s.mu.Lock()
		events, from = s.since(from)
		news := s.news
		s.mu.Unlock()
		if len(events) > 0 {
			continue
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		case <-cut:
			panic(http.ErrAbortHandler)
		}
	}
}

// since returns the events after a version, and the version of the last.
func (s *server) since(from int) ([]watch.Event, int) {
	var events []watch.Event
	if s.still {
		return nil, from
	}
	for _, e := range s.history {
		m := e.Object.(*corev1.Node)
		if v, _ := strconv.Atoi(m.ResourceVersion); v > from {
			events = append(events, e)
			from = v
		}
	}
	return events, from
}

var born = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

// node returns a Node with a vxlan lease, and as much ballast as a real one has.
func node(name string, number int) *corev1.Node {
	var images []corev1.ContainerImage
	for i := range 50 {
		images = append(images, corev1.ContainerImage{SizeBytes: 1 << 20, Names: []string{
			fmt.Sprintf("registry.example.com/team/image-%d@sha256:%064d", i, number), fmt.Sprintf("registry.example.com/team/image-%d:v1", i)}})
	}
	return &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(born),
			Labels: map[string]string{"kubernetes.io/hostname": name},
			Annotations: map[string]string{
				"flannel.alpha.coreos.com/kube-subnet-manager": "true",
				"flannel.alpha.coreos.com/backend-type":        "vxlan",
				"flannel.alpha.coreos.com/backend-data":        fmt.Sprintf(`{"VNI":1,"VtepMAC":"12:00:00:00:%02x:%02x"}`, number/256, number%256),
				"flannel.alpha.coreos.com/public-ip":           fmt.Sprintf("192.168.%d.%d", number/256, number%256),
				"node.alpha.kubernetes.io/ttl":                 "0",
			},
		},
		Spec:   corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.%d.%d.0/24", 100+number/256, number%256), PodCIDRs: []string{fmt.Sprintf("10.%d.%d.0/24", 100+number/256, number%256)}},
		Status: corev1.NodeStatus{Images: images},
	}
}

// moved returns the Node after flannel published another address.
func moved(n *corev1.Node, publicIP string) *corev1.Node {
	n = n.DeepCopy()
	n.Annotations = maps.Clone(n.Annotations)
	n.Annotations["flannel.alpha.coreos.com/public-ip"] = publicIP
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
