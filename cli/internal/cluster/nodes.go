package cluster

import (
	"context"
	"net/url"
	"strconv"
	"strings"
)

// FlannelNode is what a Node says of flannel's network, and nothing else of it.
type FlannelNode struct {
	Name        string            `json:"name"`
	PodCIDRs    []string          `json:"podCIDRs"`
	Annotations map[string]string `json:"annotations"` // flannel's only
}

// nodePage is how many Nodes a page has: whole ones, of which each can have 100 KB.
const nodePage = 100

// FlannelNodes are the Node of that name, or where it is "" all.
func (c *Cluster) FlannelNodes(ctx context.Context, name string) ([]FlannelNode, error) {
	all := []FlannelNode{}
	query := url.Values{"limit": {strconv.Itoa(nodePage)}}
	if name != "" {
		query.Set("fieldSelector", "metadata.name="+name)
	}
	for {
		var page struct {
			Metadata struct{ Continue string }
			Items    []struct {
				Metadata struct {
					Name        string
					Annotations map[string]string
				}
				Spec struct{ PodCIDRs []string }
			}
		}
		if err := c.get(ctx, "nodes", query, asJSON, &page); err != nil {
			return nil, granted(err, "")
		}
		for _, n := range page.Items {
			all = append(all, FlannelNode{n.Metadata.Name, append([]string{}, n.Spec.PodCIDRs...), flannelAnnotations(n.Metadata.Annotations)})
		}
		if page.Metadata.Continue == "" {
			return all, nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

// flannelAnnotations are those with the prefix that flannel's have; see hasLease.
func flannelAnnotations(annotations map[string]string) map[string]string {
	own := map[string]string{}
	for name := range annotations {
		prefix, ok := strings.CutSuffix(name, "backend-type")
		if !ok || !strings.HasSuffix(prefix, "/") && !strings.HasSuffix(prefix, "-") {
			continue
		}
		for name, value := range annotations {
			if strings.HasPrefix(name, prefix) {
				own[name] = value
			}
		}
	}
	return own
}
