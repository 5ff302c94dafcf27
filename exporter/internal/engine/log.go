package engine

import (
	"context"
	"log/slog"
	"slices"

	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// maxLines is how many leases that change in the same way in one step get a
// line each; more of them share one.
const maxLines = 20

// logTransitions writes what changed from one snapshot to the next, and nothing
// if nothing did. The logger carries the node's name.
func logTransitions(log *slog.Logger, old, next *wire.Snapshot) {
	logSources(log, old.Sources, next.Sources)
	logLeases(log, old.Leases, next.Leases)
	logNodeProblems(log, old.NodeProblems, next.NodeProblems)
	logStale(log, old.VisibleStale(), next.VisibleStale())
	if old.Complete == next.Complete {
		return
	}
	if next.Complete {
		log.Info("complete: leases and kernel are known", "leases", next.Summary.Leases, "healthy", next.Healthy)
	} else {
		log.Warn("not complete: leases or kernel are not known")
	}
}

func logSources(log *slog.Logger, old, next []wire.Source) {
	for _, s := range next {
		i := slices.IndexFunc(old, func(o wire.Source) bool { return o.Name == s.Name })
		was := i >= 0 && old[i].Complete
		switch {
		case s.Complete && s.Problem != "" && (!was || old[i].Problem != s.Problem):
			log.Warn("source is read, with a problem", "source", s.Name, "problem", s.Problem)
		case s.Complete && !was:
			log.Info("source is read", "name", s.Name)
		case !s.Complete && (i < 0 || was || old[i].Problem != s.Problem):
			log.Warn("source cannot be read", "name", s.Name, "problem", s.Problem)
		}
	}
}

func logNodeProblems(log *slog.Logger, old, next []wire.NodeProblem) {
	has := func(problems []wire.NodeProblem, p wire.NodeProblem) bool {
		return slices.ContainsFunc(problems, func(o wire.NodeProblem) bool {
			return o.Problem == p.Problem && o.Family == p.Family && o.Device == p.Device
		})
	}
	attrs := func(p wire.NodeProblem) []slog.Attr {
		return append(fields("problem", string(p.Problem), "family", familyText(p.Family), "device", p.Device, "message", p.Message),
			slog.Time("since", p.Since))
	}
	for _, p := range next {
		if !has(old, p) {
			logAttrs(log, slog.LevelWarn, "node problem", attrs(p))
		}
	}
	for _, p := range old {
		if !has(next, p) {
			logAttrs(log, slog.LevelInfo, "node problem is gone", attrs(p))
		}
	}
}

func logStale(log *slog.Logger, old, next []wire.Stale) {
	type object struct {
		kind   wire.StaleKind
		family netstate.Family
		object string
	}
	known := map[object]bool{}
	for _, o := range old {
		known[object{o.Kind, o.Family, o.Object}] = true
	}
	var fresh []wire.Stale
	for _, o := range next {
		if !known[object{o.Kind, o.Family, o.Object}] {
			fresh = append(fresh, o)
		}
	}
	if len(fresh) > maxLines {
		log.Info("stale objects appeared", "count", len(fresh), "first", fresh[0].Object)
		return
	}
	for _, o := range fresh {
		log.Info("stale object appeared", "kind", o.Kind, "family", o.Family, "object", o.Object, "since", o.Since)
	}
}

// fields makes attributes of keys and values, without those that are empty.
func fields(keysAndValues ...string) []slog.Attr {
	var attrs []slog.Attr
	for i := 0; i < len(keysAndValues); i += 2 {
		if keysAndValues[i+1] != "" {
			attrs = append(attrs, slog.String(keysAndValues[i], keysAndValues[i+1]))
		}
	}
	return attrs
}

func familyText(f netstate.Family) string {
	if f == 0 {
		return ""
	}
	return f.String()
}

func logAttrs(log *slog.Logger, level slog.Level, message string, attrs []slog.Attr) {
	log.LogAttrs(context.Background(), level, message, attrs...)
}
