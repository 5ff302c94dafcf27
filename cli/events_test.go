package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/cli/internal/client"
	"routewatch/shared/wire"
)

// An exporter that is lost between two pages loses no events: all of them are
// read when it is back.
func TestFollower_LostBetweenPages(t *testing.T) {
	failures := 1
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list := wire.EventList{APIVersion: wire.APIVersion, Kind: wire.KindEvents, Items: []wire.Event{{ID: 1}}, Last: 1, Continue: "1"}
		if r.URL.Query().Get("after") == "1" {
			if failures--; failures >= 0 {
				http.Error(w, "lost", http.StatusBadGateway)
				return
			}
			list.Items, list.Last, list.Continue = []wire.Event{{ID: 2}}, 2, ""
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list) // the program may have gone
	}))
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, client.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	f := follower{tails: map[string]*tail{c.Where(): {}}}
	if _, err := f.read(t.Context(), c); err == nil {
		t.Fatal("the second page failed, and read says nothing")
	}
	n, err := f.read(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for _, e := range n.list.Items {
		got = append(got, e.ID)
	}
	if diff := cmp.Diff([]uint64{1, 2}, got); diff != "" {
		t.Errorf("events when it is back (-want +got):\n%s", diff)
	}
}
