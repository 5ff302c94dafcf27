package actor

import (
	"time"

	"routewatch/shared/netstate"
)

// Unbounded resolves whatever it costs.
func Unbounded(r *Resolver, portID uint32) netstate.Process {
	now := time.Now()
	return r.resolve(portID, now, now.Add(time.Minute))
}

// Forget makes the next look one at all processes.
func Forget(r *Resolver) { clear(r.known) }
