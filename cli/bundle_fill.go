package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/cluster"
	"routewatch/shared/wire"
)

//go:embed bundle_readme.txt
var bundleReadme string

const (
	// atOnce is how many nodes or pods are asked at once for all that they have: it
	// is held in memory until it is written, in order.
	atOnce = 8
	// logLines are the last ones of a log.
	logLines = 1000
)

// bundle asks for everything and puts it into an archive.
type bundle struct {
	fleet   *fleet
	sys     system
	archive *archive
	nodes   int      // that answered
	mute    int      // that did not
	missing []string // what could not be got, and why
}

// part is a file of the bundle, or why there is none.
type part struct {
	name    string
	content []byte
	err     error
}

// fill writes the whole archive. What cannot be got is missing; an error is only
// that nothing is worth to be kept.
func (b *bundle) fill(ctx context.Context) error {
	everyone := *b.fleet
	everyone.one = false // that the only one does not answer is no reason to give up
	s, err := everyone.statuses(ctx, b.sys, true)
	if err != nil {
		return err
	}
	b.nodes, b.mute = len(s.answers), len(s.unreachable)
	b.missing = s.absences().Lines()
	if b.nodes == 0 && b.fleet.cluster == nil {
		return fmt.Errorf("nobody answered, so there is nothing to write: %s", strings.Join(b.missing, "; "))
	}
	head := []part{{"README.txt", []byte(bundleReadme), nil}, made("version.json", versionsOf(&s.gathered, b.sys), nil)}
	if err := b.add(head...); err != nil {
		return err
	}
	// The worst first: if the bundle gets full, the healthy ones are left out.
	slices.SortStableFunc(s.answers, func(x, y answer[*client.Status]) int {
		return cmp.Compare(b.rank(x.value), b.rank(y.value))
	})
	err = inOrder(ctx, b, nodesOf(s.answers), func(n node) []part { return nodeParts(ctx, n) })
	if err == nil && b.fleet.cluster != nil {
		err = b.ofCluster(ctx, s.answers)
	}
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("interrupted before everything was there: %w", context.Cause(ctx))
	}
	if err != nil {
		return err
	}
	if len(b.missing) > 0 {
		text := strings.Join(b.missing, "\n") + "\n"
		if err := b.add(part{name: "errors.txt", content: []byte(text)}); err != nil {
			return err
		}
	}
	return b.archive.close()
}

func (b *bundle) rank(s *client.Status) int {
	return slices.Index([]wire.Outcome{wire.Broken, wire.CannotTell, wire.Well}, s.Document.Outcome(nowOf(s, b.sys)))
}

// node is one that answered, and its folder in the bundle.
type node struct {
	answer[*client.Status]
	folder string
}

// nodesOf names a folder for each node, by its name or else its exporter. Two
// exporters can be of one node.
func nodesOf(answers []answer[*client.Status]) []node {
	taken := map[string]int{}
	var nodes []node
	for _, a := range answers {
		folder := "nodes/" + fileName(cmp.Or(a.node, a.client.Where()))
		taken[folder]++
		if n := taken[folder]; n > 1 {
			folder += fmt.Sprintf("_%d", n) // no name of a node has an underscore
		}
		nodes = append(nodes, node{a, folder})
	}
	return nodes
}

// add adds files.
func (b *bundle) add(parts ...part) error {
	for _, p := range parts {
		if p.err != nil {
			b.missing = append(b.missing, p.name+": "+p.err.Error())
			continue
		}
		cut, err := b.archive.add(p.name, p.content)
		if err != nil {
			return err
		}
		if cut {
			b.missing = append(b.missing, fmt.Sprintf("%s: all after its first %d MiB", p.name, maxPart>>20))
		}
	}
	return nil
}

// inOrder works on some items at once and adds what comes of it in their order,
// until the bundle is full.
func inOrder[T any](ctx context.Context, b *bundle, items []T, work func(T) []part) error {
	done := 0
	for chunk := range slices.Chunk(items, atOnce) {
		if b.archive.full() {
			b.missing = append(b.missing, fmt.Sprintf("the last %d of %d: the bundle has its %d MiB; ask fewer nodes: --node NAME",
				len(items)-done, len(items), maxBundle>>20))
			return nil
		}
		results := make([][]part, len(chunk))
		var wg sync.WaitGroup
		for i := range chunk {
			wg.Go(func() { results[i] = work(chunk[i]) })
		}
		wg.Wait()
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted before everybody answered: %w", context.Cause(ctx))
		}
		if err := b.add(slices.Concat(results...)...); err != nil {
			return err
		}
		done += len(chunk)
	}
	return nil
}

// nodeParts are what one exporter has.
func nodeParts(ctx context.Context, n node) []part {
	parts := []part{indented(n.folder+"/status.json", n.value.JSON, nil)}
	leases, err := allLeases(ctx, n.client, nil, true)
	var raw []byte
	if err == nil {
		raw, err = leases.document()
	}
	parts = append(parts, indented(n.folder+"/leases.json", raw, err))
	f := follower{tails: map[string]*tail{n.client.Where(): {}}}
	happened, err := f.read(ctx, n.client)
	raw = nil
	if err == nil {
		raw, err = happened.document()
	}
	parts = append(parts, indented(n.folder+"/events.json", raw, err))
	metrics, err := n.client.Metrics(ctx)
	return append(parts, part{n.folder + "/metrics.txt", metrics, err})
}

// document is the list of all pages as if they had been one.
func (n *news) document() (json.RawMessage, error) {
	var items []json.RawMessage
	for _, sent := range n.sent {
		page := struct{ Items []json.RawMessage }{}
		if err := json.Unmarshal(sent, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
	}
	head := n.list
	head.Items = nil
	return json.Marshal(struct {
		wire.EventList
		Items []json.RawMessage `json:"items"`
	}{head, append([]json.RawMessage{}, items...)})
}

// indented is a document in lines, which is easier to read and to redact.
func indented(name string, document []byte, err error) part {
	var out bytes.Buffer
	if err == nil {
		err = json.Indent(&out, bytes.TrimSpace(document), "", " ")
	}
	out.WriteByte('\n')
	return part{name, out.Bytes(), err}
}

// ofCluster adds what the API server knows of flannel on the nodes.
func (b *bundle) ofCluster(ctx context.Context, answers []answer[*client.Status]) error {
	node := ""
	if b.fleet.one && len(b.fleet.members) > 0 {
		node = b.fleet.members[0].node
	}
	nodes, err := b.fleet.cluster.FlannelNodes(ctx, node)
	if err := b.add(made("cluster/nodes.json", nodes, err)); err != nil {
		return err
	}
	pods, err := b.fleet.cluster.FlannelPods(ctx, node)
	slices.SortFunc(pods, func(x, y cluster.FlannelPod) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	if err := b.add(made("cluster/flannel-pods.json", append([]cluster.FlannelPod{}, pods...), err)); err != nil {
		return err
	}
	worst := map[string]int{}
	for i, a := range answers {
		worst[a.node] = i - len(answers)
	}
	slices.SortStableFunc(pods, func(x, y cluster.FlannelPod) int { return cmp.Compare(worst[x.Node], worst[y.Node]) })
	return inOrder(ctx, b, pods, func(p cluster.FlannelPod) []part {
		log, err := b.fleet.cluster.Log(ctx, p.Namespace, p.Name, p.Container, logLines)
		return []part{{fmt.Sprintf("cluster/logs/%s/%s.log", fileName(p.Namespace), fileName(p.Name)), []byte(log), err}}
	})
}

// made is a document that was made here.
func made(name string, document any, err error) part {
	var raw []byte
	if err == nil {
		raw, err = json.Marshal(document)
	}
	return indented(name, raw, err)
}
