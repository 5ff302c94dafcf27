package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// How many leases a page of /api/v1/leases holds.
const (
	defaultLimit = 500
	maxLimit     = 5000
)

func (h handler) leases(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r)
	if err != nil {
		Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	reply(w, http.StatusOK, "application/json", q.page(h.Latest()))
}

// query is what /api/v1/leases is asked for.
type query struct {
	states []verdict.State // empty: all
	limit  int
	after  *position // nil: from the start
}

// position is the lease after which a page begins. A page that is asked for
// later begins after the same lease, whether or not it is still there.
type position struct {
	Peer   []byte       `json:"p"` // bytes, since JSON would alter a name that is not UTF-8
	Family uint8        `json:"f"`
	Subnet netip.Prefix `json:"s,omitzero"`
}

func (p position) lease() wire.Lease {
	return wire.Lease{Peer: string(p.Peer), Family: netstate.Family(p.Family), Lease: p.Subnet}
}

func (q query) page(s *wire.Snapshot) wire.LeaseList {
	list := wire.LeaseList{APIVersion: wire.APIVersion, Kind: wire.KindLeaseList, Node: s.Node, Time: s.Time, Items: []wire.Lease{}}
	for _, l := range s.Leases {
		if q.after != nil && l.Compare(q.after.lease()) <= 0 {
			continue
		}
		if len(q.states) > 0 && !slices.Contains(q.states, l.State) {
			continue
		}
		if len(list.Items) == q.limit {
			last := list.Items[q.limit-1]
			list.Continue = position{[]byte(last.Peer), uint8(last.Family), last.Lease}.token()
			break
		}
		list.Items = append(list.Items, *l)
	}
	return list
}

func (p position) token() string {
	b, err := json.Marshal(p)
	if err != nil { // bytes, a family and a prefix always marshal
		panic("api: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseQuery(r *http.Request) (query, error) {
	values, err := parameters(r, "state", "limit", "continue")
	if err != nil {
		return query{}, err
	}
	q := query{limit: defaultLimit}
	for _, s := range values["state"] {
		if !slices.ContainsFunc(verdict.States(), func(w verdict.Word) bool { return w.Name == s }) {
			return query{}, fmt.Errorf("state is %q: expected one of %s", s, stateNames())
		}
		q.states = append(q.states, verdict.State(s))
	}
	if s, ok, err := single(values, "limit"); err != nil {
		return query{}, err
	} else if ok {
		if q.limit, err = strconv.Atoi(s); err != nil || q.limit < 1 || q.limit > maxLimit {
			return query{}, fmt.Errorf("limit is %q: expected a number from 1 to %d", s, maxLimit)
		}
	}
	if s, ok, err := single(values, "continue"); err != nil {
		return query{}, err
	} else if ok {
		if q.after, err = parseToken(s); err != nil {
			return query{}, err
		}
	}
	return q, nil
}

func parseToken(s string) (*position, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	var p position
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return nil, fmt.Errorf("continue is %q: expected the value of continue in the page before", s)
	}
	return &p, nil
}

// parameters returns the query's parameters. One that is not allowed is an
// error, since ignoring a misspelled filter would give a wrong answer.
func parameters(r *http.Request, allowed ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query cannot be read: %w", err)
	}
	for name := range values {
		if slices.Contains(allowed, name) {
			continue
		}
		if len(allowed) == 0 {
			return nil, fmt.Errorf("there is no parameter %q: expected none", name)
		}
		return nil, fmt.Errorf("there is no parameter %q: expected %s", name, strings.Join(allowed, ", "))
	}
	return values, nil
}

// single returns the value of a parameter that may be given once.
func single(values url.Values, name string) (value string, given bool, err error) {
	switch v := values[name]; len(v) {
	case 0:
		return "", false, nil
	case 1:
		return v[0], true, nil
	default:
		return "", false, fmt.Errorf("%s is given %d times: expected once", name, len(v))
	}
}

func stateNames() string {
	var names []string
	for _, w := range verdict.States() {
		names = append(names, w.Name)
	}
	return strings.Join(names, ", ")
}
