package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// request is what the server was asked.
type request struct {
	Line, Type string
	Body       map[string]any
}

// answering serves one answer to every request.
func answering(t *testing.T, code int, answer string) (a *api, asked func() []request) {
	t.Helper()
	for _, name := range []string{"KUBECONFIG", "KUBERNETES_SERVICE_HOST"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	var mu sync.Mutex
	var seen []request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got := request{Line: r.Method + " " + r.URL.RequestURI(), Type: r.Header.Get("Content-Type")}
		_ = json.Unmarshal(raw, &got.Body)
		mu.Lock()
		seen = append(seen, got)
		mu.Unlock()
		if code == 0 {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	a, err := connect(Config{APIServer: s.URL, Node: node, UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, func() []request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func status(code int, reason, message string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Status","status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, message)
}

func TestAPI_Requests(t *testing.T) {
	a, seen := answering(t, http.StatusOK, `{"apiVersion":"v1","kind":"Event","count":7}`)
	e := Event{Name: "node-1.00ff", Reason: ReasonBroken, Warning: true, Message: "text", First: noon, Last: noon.Add(time.Second)}
	err := a.create(t.Context(), e, 1)
	count, err2 := a.update(t.Context(), e, 0)
	_, err3 := a.update(t.Context(), e, 8)
	err4 := a.setCondition(t.Context(), Condition{ConditionType, True, "Missing", "text", noon.Add(time.Second), noon})
	if err != nil || err2 != nil || err3 != nil || err4 != nil || count != 7 {
		t.Errorf("count %d, errors %v, %v, %v, %v", count, err, err2, err3, err4)
	}
	patch := map[string]any{"reason": "FlannelRoutesBroken", "type": "Warning", "message": "text", "lastTimestamp": "2026-11-23T12:00:01Z"}
	counted := map[string]any{"count": 8.0}
	for k, v := range patch {
		counted[k] = v
	}
	want := []request{
		{"POST /api/v1/namespaces/default/events?fieldManager=routewatch", "application/json", map[string]any{
			"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"name": "node-1.00ff", "namespace": "default"},
			"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-1"},
			"reason":         "FlannelRoutesBroken", "type": "Warning", "message": "text", "count": 1.0,
			"firstTimestamp": "2026-11-23T12:00:00Z", "lastTimestamp": "2026-11-23T12:00:01Z", "eventTime": nil,
			"source": map[string]any{"component": "routewatch", "host": "node-1"}, "reportingComponent": "routewatch", "reportingInstance": "node-1",
		}},
		{"PATCH /api/v1/namespaces/default/events/node-1.00ff?fieldManager=routewatch", "application/merge-patch+json", patch},
		{"PATCH /api/v1/namespaces/default/events/node-1.00ff?fieldManager=routewatch", "application/merge-patch+json", counted},
		{"PATCH /api/v1/nodes/node-1/status?fieldManager=routewatch", "application/strategic-merge-patch+json", map[string]any{
			"status": map[string]any{"conditions": []any{map[string]any{
				"type": "FlannelRoutesBroken", "status": "True", "reason": "Missing", "message": "text",
				"lastHeartbeatTime": "2026-11-23T12:00:01Z", "lastTransitionTime": "2026-11-23T12:00:00Z",
			}}},
		}},
	}
	if diff := cmp.Diff(want, seen()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestAPI_Condition(t *testing.T) {
	const ready = `{"type":"Ready","status":"True"}`
	const ours = `{"type":"FlannelRoutesBroken","status":"True","reason":"Missing","message":"text",` +
		`"lastHeartbeatTime":"2026-11-23T12:00:01Z","lastTransitionTime":"2026-11-23T12:00:00Z"}`
	for conditions, want := range map[string]Condition{
		ready:              {},
		ready + "," + ours: {ConditionType, True, "Missing", "text", noon.Add(time.Second), noon},
	} {
		a, _ := answering(t, http.StatusOK, `{"apiVersion":"v1","kind":"Node","status":{"conditions":[`+conditions+`]}}`)
		if got, err := a.condition(t.Context()); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// Every way to fail is told apart, makes one request, and has words that say
// what to do.
func TestAPI_Errors(t *testing.T) {
	const user = `User \"system:serviceaccount:routewatch:routewatch\" cannot create resource`
	for _, tt := range []struct {
		name      string
		code      int
		answer    string
		permanent bool
		exists    bool
		delay     int
		says      string
	}{
		{"forbidden", 403, strings.ReplaceAll(status(403, "Forbidden", "X"), `"X"`, `"events is forbidden: `+user+`"`), false, false, 0,
			`it forbids "system:serviceaccount:routewatch:routewatch" to create events (403 Forbidden): routewatch needs create, patch of events ` +
				"in the namespace default: apply the Role of deploy/routewatch.yaml, or leave out --notify.events, and check with " +
				"`kubectl auth can-i create events -n default --as=system:serviceaccount:routewatch:routewatch`"},
		{"exists", 409, status(409, "AlreadyExists", "it is there"), false, true, 0, "it is there"},
		{"too many", 429, `{"apiVersion":"v1","kind":"Status","status":"Failure","code":429,"reason":"TooManyRequests","details":{"retryAfterSeconds":7}}`, false, false, 7, "429"},
		{"unwell", 500, status(500, "InternalError", "unwell"), false, false, 0, `it answers "unwell" (InternalError, 500)`},
		{"unavailable", 503, "no JSON", false, false, 0, "503"},
		{"invalid", 422, status(422, "Invalid", "x"), true, false, 0, "(Invalid, 422)"},
		{"unauthorized", 401, status(401, "Unauthorized", "x"), false, false, 0, "it does not accept the credentials (401 Unauthorized)"},
		{"hangs", 0, "", false, false, 0, "no answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, seen := answering(t, tt.code, tt.answer)
			ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errNoAnswer)
			if tt.code != 0 {
				ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
			}
			defer cancel()
			err := a.create(ctx, Event{Name: "x"}, 1)
			delay, _ := apierrors.SuggestsClientDelay(err)
			if err == nil || permanent(err) != tt.permanent || apierrors.IsAlreadyExists(err) != tt.exists || delay != tt.delay || len(seen()) != 1 {
				t.Fatalf("%v after %d requests: permanent %v, exists %v, delay %d", err, len(seen()), permanent(err), apierrors.IsAlreadyExists(err), delay)
			}
			if text := a.explain(eventRight, err).Error(); !strings.Contains(text, tt.says) || !strings.HasPrefix(text, "API server http://") {
				t.Errorf("it says %q, want %q", text, tt.says)
			}
		})
	}
}
