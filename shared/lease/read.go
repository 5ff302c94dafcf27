package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"
)

// The largest input that ReadNodes accepts, in bytes. Decoding YAML takes
// about 30 times its size in memory.
const (
	MaxJSON = 64 << 20
	MaxYAML = 8 << 20
)

// Expected ends the errors of ReadNodes: what the input should be.
const Expected = "expected what `kubectl get nodes -o json` prints"

// Read reads Nodes as ReadNodes does and turns them into a Set as FromNodes
// does. Items that are no readable Node are in its Skipped.
func Read(r io.Reader, opts Options) (Set, error) {
	nodes, skipped, err := ReadNodes(r)
	if err != nil {
		return Set{}, err
	}
	set := FromNodes(nodes, opts)
	set.Skipped = append(set.Skipped, skipped...)
	set.sort()
	return set, nil
}

// ReadNodes reads what `kubectl get nodes -o json` or `-o yaml` prints: an
// object of kind List, NodeList or Node; in YAML there may be several, each in
// a document of its own. A UTF-8 byte order mark is accepted.
//
// An item that is no Node, or has no name, is in the second result. A Node
// that cannot be decoded has Unreadable set. Any other fault is an error that
// names the line where it can, the reason, and what is expected; an input
// without any Node is one, unless it is a list that says that it is empty, and
// so is a list that says that it is only a part.
func ReadNodes(r io.Reader) ([]Node, []Skipped, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxJSON+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read nodes: %w", err)
	}
	if len(b) > MaxJSON {
		return nil, nil, fmt.Errorf("larger than %d MiB: %s and nothing else", MaxJSON>>20, Expected)
	}
	if b, err = text(b); err != nil {
		return nil, nil, err
	}
	var items []item
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') {
		items, err = readJSON(b)
	} else {
		items, err = readYAML(b)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w; %s", err, Expected)
	}
	return sift(items)
}

// text checks that the bytes are text, and removes a byte order mark.
func text(b []byte) ([]byte, error) {
	const asUTF8 = "write it as UTF-8, in PowerShell with `kubectl get nodes -o json | Out-File -Encoding utf8 FILE`"
	if bytes.HasPrefix(b, []byte{0xff, 0xfe}) || bytes.HasPrefix(b, []byte{0xfe, 0xff}) {
		return nil, errors.New("line 1: the text is UTF-16, not UTF-8: " + asUTF8)
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("line 1: the input is empty; " + Expected)
	}
	if utf8.Valid(b) {
		return b, nil
	}
	i := 0
	for {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return nil, fmt.Errorf("line %d: byte 0x%02x is not UTF-8: %s", lineOf(b, i), b[i], asUTF8)
		}
		i += size
	}
}

// lineOf returns the line, from 1, of the byte at the offset.
func lineOf(b []byte, offset int) int {
	return 1 + bytes.Count(b[:min(max(offset, 0), len(b))], []byte("\n"))
}

// An item is one object of the input.
type item struct {
	header
	node  Node
	where string // for a person
	err   error  // why node could not be decoded completely
}

// header is what says what an object is.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// UnmarshalJSON implements json.Unmarshaler. It returns no error: what is
// wrong with an item affects only that item.
func (it *item) UnmarshalJSON(b []byte) error {
	*it = item{}
	it.err = json.Unmarshal(b, &it.header)
	if err := json.Unmarshal(b, &it.node); err != nil {
		it.err = err
	}
	return nil
}

// document is one object of the input.
type document struct {
	Kind     string   `json:"kind"`
	Metadata listMeta `json:"metadata"` // of a list
	Items    *[]item  `json:"items"`
	Message  string   `json:"message"` // of a Status
}

// listMeta is how the API server says that a list is only a part, which it is
// when it was asked for with a limit.
type listMeta struct {
	Continue           string `json:"continue"`
	RemainingItemCount int64  `json:"remainingItemCount"`
}

// more says that and where more items follow; "" if none do.
func (m listMeta) more() string {
	switch {
	case m.RemainingItemCount > 0:
		return fmt.Sprintf("its metadata.remainingItemCount is %d", m.RemainingItemCount)
	case m.Continue != "":
		return "its metadata.continue is set"
	}
	return ""
}

// readJSON reads one JSON document.
func readJSON(b []byte) ([]item, error) {
	items, err := decode(b)
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		// The offset is that of the byte after the one that is wrong, or the end.
		return nil, fmt.Errorf("line %d: not JSON, or cut off: %w", lineOf(b, int(syntax.Offset)-1), err)
	case errors.As(err, &wrongType):
		return nil, fmt.Errorf("line %d: %s", lineOf(b, int(wrongType.Offset)-1), describe(err))
	case err != nil:
		return nil, fmt.Errorf("line 1: %w", err)
	}
	return items, nil
}

// decode returns the objects in one JSON document.
func decode(b []byte) ([]item, error) {
	var top document
	if err := json.Unmarshal(b, &top); err != nil {
		return nil, err
	}
	switch top.Kind {
	case "":
		return nil, errors.New(`the object has no "kind": not a List, NodeList or Node`)
	case "Node":
		var it item
		if err := json.Unmarshal(b, &it); err != nil {
			return nil, err
		}
		it.where = "the Node"
		return []item{it}, nil
	case "List", "NodeList":
		return top.list()
	case "Status":
		return nil, fmt.Errorf("the object is an answer of the API server, not Nodes: %s", quote(top.Message))
	default:
		return nil, fmt.Errorf("the object is of kind %s, not List, NodeList or Node", quote(top.Kind))
	}
}

// list returns the items of a list.
func (d *document) list() ([]item, error) {
	if d.Items == nil {
		return nil, fmt.Errorf(`the %s has no "items"`, d.Kind)
	}
	if why := d.Metadata.more(); why != "" {
		return nil, fmt.Errorf("the %s is only a part, %s: ask without limit=, or get all with `kubectl get nodes -o json > FILE`", d.Kind, why)
	}
	items := *d.Items
	for i := range items {
		items[i].where = fmt.Sprintf("items[%d]", i)
		if d.Kind == "NodeList" && items[i].Kind == "" {
			items[i].Kind = "Node" // the API server leaves it out there
		}
	}
	return items, nil
}

// describe puts a decoding error into the words of the input, not of Go.
func describe(err error) string {
	var t *json.UnmarshalTypeError
	if !errors.As(err, &t) {
		return brief(err.Error())
	}
	want := "an object"
	switch t.Type.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Slice:
		want = "a list"
	case reflect.Uint16, reflect.Uint32, reflect.Int64:
		want = "a number in range"
	}
	what := t.Field
	if what == "" {
		what = "it"
	}
	return fmt.Sprintf("%s is of type %s, not %s", brief(what), brief(t.Value), want)
}

// brief shortens what a decoder says: it may quote much of the input.
func brief(s string) string {
	if short, ok := shorten(s, 200); ok {
		return short + "..."
	}
	return s
}

// sift separates the Nodes from what is none.
func sift(items []item) ([]Node, []Skipped, error) {
	var nodes []Node
	var skipped []Skipped
	for i := range items {
		it := &items[i]
		if reason := it.noNode(); reason != "" {
			skipped = append(skipped, Skipped{Node: it.node.Metadata.Name, Reason: it.where + " " + reason})
			continue
		}
		if it.err != nil {
			it.node.Unreadable = fmt.Sprintf("%s cannot be decoded: %v", it.where, describe(it.err))
		}
		nodes = append(nodes, it.node)
	}
	if len(nodes) == 0 && len(skipped) > 0 {
		return nil, nil, fmt.Errorf("no Node among %d items: %s; %s", len(skipped), skipped[0].Reason, Expected)
	}
	return nodes, skipped, nil
}

// noNode says why an item is no Node; "" if it is one.
func (it *item) noNode() string {
	switch {
	case it.Kind == "" && it.err != nil:
		return "is no Node: " + describe(it.err)
	case it.Kind != "Node":
		return fmt.Sprintf("is of kind %s, not Node", quote(it.Kind))
	case it.APIVersion != "" && it.APIVersion != "v1":
		return fmt.Sprintf("is a Node of %s, not of Kubernetes' v1", quote(it.APIVersion))
	case it.node.Metadata.Name == "":
		return "is a Node without metadata.name"
	}
	return ""
}
