//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"routewatch/deploy/lab/shell"
)

// on NODE COMMAND...: types a command on a node.
func (s *scenario) on(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("expected NODE COMMAND")
	}
	n, err := s.nodeOf(args[0])
	if err != nil {
		return err
	}
	command := strings.Join(args[1:], " ")
	s.did(time.Now(), "on "+n.Name+": "+command)
	return shell.Run(n.NS, command)
}

// flanneld NODE stop|kill|start|restart.
func (s *scenario) flanneld(args []string) error {
	n, err := s.nodeOf(strings.Join(args[:1], ""))
	if err != nil {
		return err
	}
	s.did(time.Now(), "flanneld "+strings.Join(args, " "))
	switch args[1] {
	case "stop":
		n.StopFlannel()
	case "kill":
		n.KillFlannel()
	case "start":
		return n.StartFlannel(s.ctx)
	case "restart":
		n.StopFlannel()
		return n.StartFlannel(s.ctx)
	default:
		return fmt.Errorf("expected stop, kill, start or restart")
	}
	return nil
}

// node NODE leave|join [subnet=N]: N is the node whose pod networks it gets.
func (s *scenario) node(args []string) error {
	s.did(time.Now(), strings.Join(args, " "))
	switch {
	case len(args) == 2 && args[1] == "leave":
		return s.cluster.Leave(s.ctx, args[0])
	case len(args) >= 2 && args[1] == "join":
		o, err := parseOptions(args[2:], "subnet")
		if err != nil {
			return err
		}
		number := 0
		if v := o["subnet"]; v != "" {
			if _, err := fmt.Sscan(v, &number); err != nil {
				return err
			}
		}
		return s.join(args[0], number)
	}
	return fmt.Errorf("expected NODE leave or NODE join")
}

func (s *scenario) join(name string, subnet int) error {
	n, err := s.cluster.Join(s.ctx, name, subnet)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := n.StartExporter(s.ctx); err != nil {
		return err
	}
	return s.capture()
}

// api down|up|hang|resume.
func (s *scenario) api(args []string) error {
	s.did(time.Now(), "api "+args[0])
	control := s.control()
	switch args[0] {
	case "down":
		control.Kill()
	case "up":
		return control.Restart(s.ctx)
	case "hang":
		return control.Pause()
	case "resume":
		return control.Resume()
	default:
		return fmt.Errorf("expected down, up, hang or resume")
	}
	return nil
}

// etcd down|up|compact|put KEY VALUE, where the leases are in etcd; compact
// also of the API server's own.
func (s *scenario) etcd(args []string) error {
	s.did(time.Now(), "etcd "+strings.Join(args, " "))
	if s.server == nil {
		if args[0] != "compact" {
			return fmt.Errorf("the leases are not in etcd")
		}
		return s.control().CompactEtcd(s.ctx)
	}
	switch args[0] {
	case "down":
		s.server.Kill()
	case "up":
		return s.server.Restart(s.ctx)
	case "compact":
		return s.server.Compact(s.ctx)
	case "put":
		return s.server.Put(s.ctx, args[1], strings.Join(args[2:], " "))
	case "del":
		return s.server.Delete(s.ctx, args[1])
	default:
		return fmt.Errorf("expected down, up, compact, put or del")
	}
	return nil
}

// cable NODE pull|plug.
func (s *scenario) cable(args []string) error {
	n, err := s.nodeOf(strings.Join(args[:1], ""))
	if err != nil {
		return err
	}
	s.did(time.Now(), "cable "+strings.Join(args, " "))
	if args[1] == "plug" {
		return n.Plug()
	}
	return n.Unplug()
}

// annotate NODE NAME=VALUE: an annotation of flannel's, without its prefix; an
// empty value removes it.
func (s *scenario) annotate(args []string) error {
	s.did(time.Now(), "annotate "+strings.Join(args, " "))
	values := map[string]any{}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		values[s.prefix.Key(name)] = value
		if value == "" {
			values[s.prefix.Key(name)] = nil
		}
	}
	patch := map[string]any{"metadata": map[string]any{"annotations": values}}
	return s.control().Do(s.ctx, http.MethodPatch, "/api/v1/nodes/"+args[0], patch, nil)
}

// exporter NODE restart: what it remembers is gone.
func (s *scenario) exporter(args []string) error {
	n, err := s.nodeOf(strings.Join(args[:1], ""))
	if err != nil {
		return err
	}
	s.did(time.Now(), "exporter "+strings.Join(args, " "))
	if len(args) == 2 && args[1] == "pause" {
		return n.PauseExporter()
	}
	return n.RestartExporter(s.ctx)
}

// show NODE COMMAND...: prints what a command prints on a node, to look at while
// a story is written.
func (s *scenario) show(args []string) error {
	n, err := s.nodeOf(args[0])
	if err != nil {
		return err
	}
	return n.NS.Do(func() error {
		out, err := exec.Command(args[1], args[2:]...).CombinedOutput()
		fmt.Printf("%s\n%s", strings.Join(args, " "), out)
		return err
	})
}
