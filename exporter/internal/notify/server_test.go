package notify

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// memory is a server that keeps what it is told.
type memory struct {
	mu       sync.Mutex
	events   map[string]Event
	counts   map[string]int32
	node     Condition
	written  []Condition
	refuse   error // of every request
	lose     int   // so many writes are done, and the answer is lost
	requests int
	hang     bool
}

var resource = schema.GroupResource{Resource: "events"}

func (m *memory) asked(ctx context.Context) (err error) {
	m.mu.Lock()
	m.requests++
	hang, err := m.hang, m.refuse
	m.mu.Unlock()
	if hang { // as send does
		select {
		case <-ctx.Done():
		case <-time.After(writeTimeout):
		}
		return errNoAnswer
	}
	return err
}

func (m *memory) lost() error {
	if m.lose > 0 {
		m.lose--
		return errors.New("connection reset")
	}
	return nil
}

func (m *memory) create(ctx context.Context, e Event, count int32) error {
	if err := m.asked(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts[e.Name] > 0 {
		return apierrors.NewAlreadyExists(resource, e.Name)
	}
	m.events[e.Name], m.counts[e.Name] = e, count
	return m.lost()
}

func (m *memory) update(ctx context.Context, e Event, count int32) (int32, error) {
	if err := m.asked(ctx); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts[e.Name] == 0 {
		return 0, apierrors.NewNotFound(resource, e.Name)
	}
	if count > 0 {
		m.counts[e.Name] = count
	}
	m.events[e.Name] = e
	return m.counts[e.Name], m.lost()
}

func (m *memory) condition(ctx context.Context) (Condition, error) {
	err := m.asked(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node, err
}

func (m *memory) setCondition(ctx context.Context, c Condition) error {
	if err := m.asked(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node, m.written = c, append(m.written, c)
	return nil
}

// have is what there is now.
func (m *memory) have() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{
		events: maps.Clone(m.events), counts: maps.Clone(m.counts), node: m.node, written: slices.Clone(m.written), requests: m.requests,
	}
}

func (m *memory) with(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}
