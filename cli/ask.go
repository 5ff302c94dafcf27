package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"routewatch/cli/internal/client"
)

const (
	// parallel is how many exporters are asked at once: those that hang are
	// done with after one timeout, and what waits to be read stays small.
	parallel = 64
	// progressAfter is how long nothing is shown of the progress, and
	// progressEvery how often it is drawn then.
	progressAfter = 300 * time.Millisecond
	progressEvery = 100 * time.Millisecond
)

// answer is what became of asking a member.
type answer[T any] struct {
	member
	value T
	err   error
}

// each asks all members, at most parallel at once, and returns their answers in
// the order of the members. Each member has its own timeout. An error is only
// that ctx ended.
func each[T any](ctx context.Context, f *fleet, sys system, ask func(context.Context, *client.Client) (T, error)) ([]answer[T], error) {
	answers := make([]answer[T], len(f.members))
	p := startProgress(terminalOf(sys.stderr), len(f.members))
	defer p.stop()
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(parallel, len(f.members)) {
		wg.Go(func() {
			for i := range next {
				answers[i].member = f.members[i]
				answers[i].value, answers[i].err = ask(ctx, f.members[i].client)
				p.answered(answers[i].err == nil)
			}
		})
	}
	for i := range f.members {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("interrupted before everybody answered: %w", context.Cause(ctx))
	}
	return answers, nil
}

// progress shows on a terminal how many have answered.
type progress struct {
	screen      terminal
	total       int
	mu          sync.Mutex
	done, fails int
	drawn       bool
	ended       chan struct{}
	stopped     sync.WaitGroup
}

func startProgress(screen terminal, total int) *progress {
	p := &progress{screen: screen, total: total, ended: make(chan struct{})}
	if screen.is() && !screen.dumb() && total > 1 {
		p.stopped.Go(p.run)
	}
	return p
}

func (p *progress) run() {
	wait := time.NewTimer(progressAfter)
	defer wait.Stop()
	for {
		select {
		case <-p.ended:
			if p.drawn {
				_ = write(p.screen.file, "\r"+eraseRight) // what is shown next says it all
			}
			return
		case <-wait.C:
			_ = write(p.screen.file, "\r"+p.line()+eraseRight) // a picture less is no harm
			p.drawn = true
			wait.Reset(progressEvery)
		}
	}
}

func (p *progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	const width = 30
	full := width * p.done / p.total
	text := fmt.Sprintf("[%s%s] %d of %d exporters", strings.Repeat("=", full), strings.Repeat(" ", width-full), p.done, p.total)
	if p.fails > 0 {
		text += fmt.Sprintf(", %d did not answer", p.fails)
	}
	return text
}

func (p *progress) answered(well bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if !well {
		p.fails++
	}
}

func (p *progress) stop() {
	close(p.ended)
	p.stopped.Wait()
}
