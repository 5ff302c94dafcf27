package api_test

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"routewatch/exporter/internal/api"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// openAPI is the part of the document that the tests look at.
type openAPI struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID, Summary string
		Parameters           []struct{ Name, In string }
		Responses            map[string]response
	}
	Components struct {
		Responses map[string]response
		Schemas   map[string]schema
	}
}

type response struct {
	Ref         string `json:"$ref"`
	Description string
	Content     map[string]struct{ Schema schema }
}

type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Properties map[string]schema
	Required   []string
	Examples   []string
	Items      *schema
}

// document is read and its schemas are compiled once.
var document = sync.OnceValues(func() (openAPI, *jsonschema.Compiler) {
	raw, err := os.ReadFile("openapi.json")
	must(err)
	var doc openAPI
	must(json.Unmarshal(raw, &doc))
	any, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	must(err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	must(c.AddResource("openapi.json", any))
	return doc, c
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// validate holds a JSON value against a schema of the document.
func validate(ref string, body []byte) error {
	_, c := document()
	s, err := c.Compile("openapi.json" + ref)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(value)
}

// conforms panics if an answer is not as the document says: every answer of
// every test here goes through it.
func conforms(target string, w *httptest.ResponseRecorder) {
	doc, _ := document()
	path, _, _ := strings.Cut(target, "?")
	if strings.HasPrefix(path, "/page/") {
		path = "/page/{file}"
	}
	contentType, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	if contentType == "" {
		contentType = http.DetectContentType(w.Body.Bytes())
		contentType, _, _ = strings.Cut(contentType, ";")
	}
	r := doc.Components.Responses["Error"]
	if operation, ok := doc.Paths[path]; ok {
		r, ok = operation["get"].Responses[strconv.Itoa(w.Code)]
		if !ok {
			panic(fmt.Sprintf("%s: the document has no answer %d", target, w.Code))
		}
		if r.Ref != "" {
			r = doc.Components.Responses[strings.TrimPrefix(r.Ref, "#/components/responses/")]
		}
	}
	content, ok := r.Content[contentType]
	if !ok {
		panic(fmt.Sprintf("%s: answer %d is never %q by the document", target, w.Code, contentType))
	}
	if content.Schema.Ref != "" {
		if err := validate(content.Schema.Ref, w.Body.Bytes()); err != nil {
			panic(fmt.Sprintf("%s: %v\n%s", target, err, w.Body))
		}
	}
}

func TestOpenAPI_HasEveryRoute(t *testing.T) {
	doc, _ := document()
	routes := api.Routes(api.Config{MetricsPath: "/metrics", Metrics: http.NotFoundHandler()})
	if diff := cmp.Diff(routes, slices.Sorted(maps.Keys(doc.Paths))); diff != "" {
		t.Errorf("paths (-served +documented):\n%s", diff)
	}
	ids := map[string]bool{}
	for path, operations := range doc.Paths {
		get, ok := operations["get"]
		if !ok || len(operations) != 1 || get.Summary == "" || get.OperationID == "" || ids[get.OperationID] {
			t.Errorf("%s: expected get alone, with a summary and an id of its own", path)
		}
		ids[get.OperationID] = true
		for code, r := range get.Responses {
			if name, ok := strings.CutPrefix(r.Ref, "#/components/responses/"); ok && doc.Components.Responses[name].Description == "" || !ok && r.Description == "" {
				t.Errorf("%s: answer %s is not described", path, code)
			}
		}
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("openapi is %q, want 3.1", doc.OpenAPI)
	}
}

// A parameter that is documented is taken, and no other.
func TestOpenAPI_Parameters(t *testing.T) {
	doc, _ := document()
	for path, operations := range doc.Paths {
		if !strings.HasPrefix(path, "/api/") {
			continue
		}
		w := newServer(peers(0)).do("GET", path+"?nonsense=1")
		_, expected, ok := strings.Cut(w.Body.String(), `expected `)
		var want []string
		for _, p := range operations["get"].Parameters {
			if p.In == "query" {
				want = append(want, p.Name)
			}
		}
		named := strings.TrimSuffix(strings.TrimSpace(expected), `"}`)
		if len(want) == 0 {
			want = []string{"none"}
		}
		if !ok || w.Code != 400 || named != strings.Join(want, ", ") {
			t.Errorf("%s takes %q, documented are %q", path, named, want)
		}
	}
}

// documented are the types of the contract, by the name of their schema.
var documented = map[string]reflect.Type{
	"NodeStatus": reflect.TypeFor[wire.NodeStatus](), "LeaseList": reflect.TypeFor[wire.LeaseList](), "EventList": reflect.TypeFor[wire.EventList](),
	"Explanation": reflect.TypeFor[wire.Explanation](), "Problem": reflect.TypeFor[wire.Problem](),
}

// Each field of each type is in the document, with its type, and the other way
// round; it is required unless it can be left out.
func TestOpenAPI_HasEveryField(t *testing.T) {
	doc, _ := document()
	seen := map[string]bool{}
	var check func(name string, typ reflect.Type)
	check = func(name string, typ reflect.Type) {
		if seen[name] {
			return
		}
		seen[name] = true
		s, ok := doc.Components.Schemas[name]
		if !ok {
			t.Errorf("there is no schema %s for %s", name, typ)
			return
		}
		var fields, required []string
		for f := range typ.Fields() {
			tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if tag == "-" {
				continue
			}
			fields = append(fields, tag)
			if options == "" {
				required = append(required, tag)
			}
			if got, want := kind(s.Properties[tag]), kindOf(f.Type); got != want {
				t.Errorf("%s.%s is documented as %s, and is %s", name, tag, got, want)
			}
			if inner := structOf(f.Type); inner != nil {
				check(inner.Name(), inner)
			}
		}
		slices.Sort(fields)
		slices.Sort(required)
		slices.Sort(s.Required)
		if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(s.Properties))); diff != "" {
			t.Errorf("%s: fields (-type +document):\n%s", name, diff)
		}
		if diff := cmp.Diff(required, s.Required); diff != "" {
			t.Errorf("%s: required (-type +document):\n%s", name, diff)
		}
	}
	for name, typ := range documented {
		check(name, typ)
	}
	for name, s := range doc.Components.Schemas {
		if s.Type == "object" && !seen[name] {
			t.Errorf("the schema %s is of no type", name)
		}
	}
}

// kind is what a schema describes, kindOf what a type becomes in JSON.
func kind(s schema) string {
	switch {
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, "#/components/schemas/")
	case s.Type == "array":
		return "[]" + kind(*s.Items)
	}
	return s.Type
}

var schemaNames = map[reflect.Type]string{
	reflect.TypeFor[netip.Addr](): "Address", reflect.TypeFor[netip.Prefix](): "Prefix", reflect.TypeFor[netstate.MAC](): "MAC",
	reflect.TypeFor[netstate.Family](): "Family", reflect.TypeFor[time.Time](): "string",
	reflect.TypeFor[verdict.NodeProblem](): "NodeProblemName",
}

func kindOf(t reflect.Type) string {
	if name, ok := schemaNames[t]; ok {
		return name
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Slice:
		return "[]" + kindOf(t.Elem())
	case reflect.Map:
		return "object"
	case reflect.Struct:
		return t.Name()
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		if t.PkgPath() != "" {
			return t.Name() // a vocabulary
		}
		return "string"
	}
	return "integer"
}

// structOf is the struct of ours that a field holds, nil if it holds none.
func structOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return nil
	}
	return t
}

func TestOpenAPI_HasEveryWord(t *testing.T) {
	doc, _ := document()
	var places, stale []verdict.Word
	for _, p := range wire.Places {
		places = append(places, verdict.Word{Name: string(p)})
	}
	for _, k := range wire.StaleKinds {
		stale = append(stale, verdict.Word{Name: string(k)})
	}
	var hows []verdict.Word
	for _, h := range verdict.ActorHows() {
		hows = append(hows, verdict.Word{Name: string(h)})
	}
	for name, words := range map[string][]verdict.Word{
		"State": verdict.States(), "Effect": verdict.Effects(), "Cause": verdict.Causes(), "NodeProblemName": verdict.NodeProblems(),
		"EventType": verdict.EventTypes(), "Place": places, "StaleKind": stale, "ActorHow": hows,
	} {
		var want []string
		for _, w := range words {
			want = append(want, w.Name)
		}
		if diff := cmp.Diff(want, doc.Components.Schemas[name].Examples); diff != "" {
			t.Errorf("%s (-vocabulary +document):\n%s", name, diff)
		}
	}
}

// A document in which every field is set conforms, and one that is wrong does not.
func TestOpenAPI_FullDocuments(t *testing.T) {
	for name, typ := range documented {
		v := reflect.New(typ).Elem()
		fill(v)
		if f := v.FieldByName("APIVersion"); f.IsValid() {
			f.SetString(wire.APIVersion)
			v.FieldByName("Kind").SetString(name)
		}
		body, err := json.Marshal(v.Interface())
		must(err)
		if err := validate("#/components/schemas/"+name, body); err != nil {
			t.Errorf("%s: %v\n%s", name, err, body)
		}
		if err := validate("#/components/schemas/"+name, []byte(`{"kind": 7}`)); err == nil {
			t.Errorf("%s: nonsense conforms", name)
		}
	}
}

// fill sets every field of a value.
func fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		*x = netip.MustParseAddr("10.244.1.2")
		return
	case *netip.Prefix:
		*x = netip.MustParsePrefix("10.244.1.0/24")
		return
	case *time.Time:
		*x = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
		return
	case *netstate.MAC:
		*x = netstate.MAC{2, 0, 0, 0, 0, 1}
		return
	case *netstate.Family:
		*x = netstate.IPv6
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				fill(v.Field(i))
			}
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.Set(reflect.ValueOf(7).Convert(v.Type()))
	}
}

func TestOpenAPI_IsServed(t *testing.T) {
	raw, err := os.ReadFile("openapi.json")
	must(err)
	w := newServer(peers(0)).do("GET", "/api/v1/openapi.json")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || !bytes.Equal(raw, w.Body.Bytes()) {
		t.Errorf("got %d %s", w.Code, w.Header())
	}
}

func explanation(a netip.Addr) wire.Explanation {
	return wire.Explanation{
		APIVersion: wire.APIVersion, Kind: wire.KindExplain, Address: a, Family: netstate.FamilyOf(a),
		Lookups: []wire.ExplainedLookup{}, Incidents: []wire.Incident{}, NodeProblems: []wire.NodeProblem{},
	}
}

func TestExplain(t *testing.T) {
	s := newServer(peers(1))
	s.explain = explanation
	for given, want := range map[string]string{"10.244.1.2": "10.244.1.2", "::ffff:10.244.1.2": "10.244.1.2", "FD00::2": "fd00::2"} {
		w := s.do("GET", "/api/v1/explain?address="+given)
		var got wire.Explanation
		must(json.Unmarshal(w.Body.Bytes(), &got))
		if w.Code != 200 || got.Address.String() != want {
			t.Errorf("%s: got %d %+v", given, w.Code, got)
		}
	}
}

func TestStatus_History(t *testing.T) {
	s := newServer(peers(1))
	if body := s.do("GET", "/api/v1/status").Body.String(); strings.Contains(body, `"history"`) {
		t.Errorf("there is a history without a file: %s", body)
	}
	s.history = &wire.History{Path: "/x", Problem: "full"}
	if body := s.do("GET", "/api/v1/status").Body.String(); !strings.Contains(body, `"history":{"path":"/x","bytes":0,"maxSize":0,"lost":0,"writeErrors":0,"problem":"full"}`) {
		t.Errorf("the history is not told: %s", body)
	}
}
