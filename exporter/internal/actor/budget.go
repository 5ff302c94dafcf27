package actor

import "time"

const (
	maxBurst = 100 * time.Millisecond // of work that may be done at once
	share    = 20                     // of the time that it may take in the long run: one in so many
)

// budget keeps a storm of changes from becoming a storm of looks at /proc.
type budget struct {
	left time.Duration // below 0: the last look took longer than there was left
	at   time.Time     // when left was right
}

func (b *budget) allows(now time.Time) bool {
	b.left = min(maxBurst, b.left+now.Sub(b.at)/share)
	b.at = now
	return b.left > 0
}

func (b *budget) spend(d time.Duration) { b.left -= d }
