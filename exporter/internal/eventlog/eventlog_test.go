package eventlog_test

import (
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"routewatch/exporter/internal/eventlog"
	"routewatch/shared/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ids(p eventlog.Page) []uint64 {
	var out []uint64
	for _, e := range p.Events {
		out = append(out, e.ID)
	}
	return out
}

// A reader that asks again and again gets each event once and in order, or is
// told of a gap.
func TestLog_NothingIsLostInSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := eventlog.New(eventlog.Start{Base: rapid.Uint64Range(0, 5).Draw(t, "base"), Whole: true})
		var cursor, last uint64
		appended, read := 0, 0
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			n := rapid.SampledFrom([]int{0, 1, 7, eventlog.Kept / 2, eventlog.Kept + 3}).Draw(t, "events")
			log.Append(make([]wire.Event, n)...)
			appended += n
			for range rapid.IntRange(0, 3).Draw(t, "reads") {
				page := log.After(cursor, rapid.IntRange(1, 2*eventlog.Kept).Draw(t, "limit"))
				if page.Gap {
					read = -1
				}
				for _, e := range page.Events {
					if e.ID <= last {
						t.Fatalf("id %d after %d", e.ID, last)
					}
					if !page.Gap && last != 0 && e.ID != last+1 {
						t.Fatalf("id %d after %d and no gap", e.ID, last)
					}
					last, page.Gap = e.ID, false
					if read >= 0 {
						read++
					}
				}
				cursor = page.Last
				if !page.More && read >= 0 && read != appended {
					t.Fatalf("%d events read of %d, and no gap", read, appended)
				}
			}
		}
	})
}

func TestLog_Restart(t *testing.T) {
	kept := []wire.Event{{ID: 100}, {ID: 101}}
	for name, tt := range map[string]struct {
		start eventlog.Start
		after uint64
		want  []uint64
		gap   bool
	}{
		"no history, no events":                {eventlog.Start{Base: 500}, 499, nil, false},
		"no history, a reader of before":       {eventlog.Start{Base: 500}, 101, nil, true},
		"history, a reader of before":          {eventlog.Start{Base: 500, Events: kept, Whole: true}, 100, []uint64{101}, false},
		"history, a reader of all":             {eventlog.Start{Base: 500, Events: kept, Whole: true}, 101, nil, false},
		"history, a reader of long ago":        {eventlog.Start{Base: 500, Events: kept, Whole: true}, 7, []uint64{100, 101}, true},
		"damaged history, a reader of all":     {eventlog.Start{Base: 500, Events: kept}, 101, nil, true},
		"a reader of what was never written":   {eventlog.Start{Base: 500, Events: kept, Whole: true}, 102, []uint64{100, 101}, true},
		"a reader of the future":               {eventlog.Start{Base: 500}, 9999, nil, true},
		"a clock that was set back, a history": {eventlog.Start{Base: 50, Events: kept, Whole: true}, 101, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			log := eventlog.New(tt.start)
			page := log.After(tt.after, 10)
			if got := ids(page); len(got) != len(tt.want) || page.Gap != tt.gap {
				t.Errorf("got %v, gap %t; want %v, %t", got, page.Gap, tt.want, tt.gap)
			}
			log.Append(wire.Event{})
			next := log.After(page.Last, 10)
			if len(next.Events) != 1 || next.Gap || next.Events[0].ID < max(tt.start.Base, 102) && tt.start.Events != nil {
				t.Errorf("the next event is %v, gap %t", ids(next), next.Gap)
			}
		})
	}
}

func TestLog_Follow(t *testing.T) {
	log := eventlog.New(eventlog.Start{Base: 1, Whole: true})
	const total = 20_000
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			var cursor uint64
			for cursor < total {
				page := log.After(cursor, 50)
				if page.Last == cursor && !page.More {
					<-page.Grown
				}
				if !page.Gap && len(page.Events) > 0 && page.Events[0].ID != cursor+1 {
					t.Errorf("id %d after %d and no gap", page.Events[0].ID, cursor)
				}
				cursor = page.Last
			}
		})
	}
	for range total / 10 {
		log.Append(make([]wire.Event, 10)...)
	}
	readers.Wait()
}
