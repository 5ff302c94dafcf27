// Package shared_test holds the rules of who may import whom. They keep the
// domain pure, the two programs apart, and each library behind one door.
package shared_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "routewatch"

// pkg is what go list says of a package; tests are not part of it.
type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string // directly
	Deps       []string // and through others
}

// A rule says which imports are forbidden where.
type rule struct {
	name    string
	applies func(path string) bool // which packages of ours
	forbids func(imported string) bool
	deep    bool // also through others
}

var (
	pure = in("shared/lease", "shared/expect", "shared/verdict", "shared/judge", "shared/mend", "shared/netstate", "shared/events", "shared/flight")

	rules = []rule{
		{
			name:    "shared imports neither exporter nor cli",
			applies: in("shared"), forbids: in("exporter", "cli"), deep: true,
		},
		{
			name:    "cli never imports exporter",
			applies: in("cli"), forbids: in("exporter"), deep: true,
		},
		{
			name:    "only the kernel layer, actor, repair and the lab import netlink",
			applies: not(in("exporter/internal/kernel", "exporter/internal/actor", "exporter/internal/repair", "deploy/lab")),
			forbids: foreign("github.com/mdlayher/netlink", "github.com/jsimonetti/rtnetlink", "github.com/vishvananda/netlink"),
		},
		{
			name:    "only the kernel layer imports wgctrl",
			applies: not(in("exporter/internal/kernel")),
			forbids: foreign("golang.zx2c4.com/wireguard"),
		},
		{
			name:    "only leases/kube, notify and cli/internal/cluster import client-go",
			applies: not(in("exporter/internal/leases/kube", "exporter/internal/notify", "cli/internal/cluster")),
			forbids: foreign("k8s.io/client-go"),
		},
		{
			name:    "only leases/etcd imports etcd's client",
			applies: not(in("exporter/internal/leases/etcd")),
			forbids: foreign("go.etcd.io/etcd"),
		},
		{
			name:    "only metrics and the exporter's main package import client_golang",
			applies: func(path string) bool { return path != module+"/exporter" && !in("exporter/internal/metrics")(path) },
			forbids: foreign("github.com/prometheus/client_golang"),
		},
		{
			name:    "the pure packages do no I/O, log nothing and start nothing",
			applies: pure,
			forbids: func(imported string) bool {
				return slices.Contains([]string{"os", "net/http", "log/slog", "log", "context", "sync"}, imported)
			},
		},
		{
			name:    "the lab never imports expect, or it would prove expect against itself",
			applies: in("deploy/lab"), forbids: in("shared/expect"), deep: true,
		},
	}
)

// in matches packages of ours in one of the folders.
func in(folders ...string) func(string) bool {
	for i, f := range folders {
		folders[i] = module + "/" + f
	}
	return foreign(folders...)
}

// foreign matches a package, the packages below it, and its major versions.
func foreign(roots ...string) func(string) bool {
	return func(path string) bool {
		return slices.ContainsFunc(roots, func(root string) bool {
			return path == root || strings.HasPrefix(path, root+"/")
		})
	}
}

func not(f func(string) bool) func(string) bool { return func(path string) bool { return !f(path) } }

// violations lists what breaks a rule.
func violations(packages []pkg) []string {
	var found []string
	for _, p := range packages {
		for _, r := range rules {
			imports := p.Imports
			if r.deep {
				imports = p.Deps
			}
			for _, imported := range imports {
				if r.applies(p.ImportPath) && r.forbids(imported) {
					found = append(found, fmt.Sprintf("%s imports %s: %s", p.ImportPath, imported, r.name))
				}
			}
		}
	}
	return found
}

// clockReaders are the functions of package time that read the clock or wait.
var clockReaders = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

// clockUses lists where a file reads the clock.
func clockUses(fset *token.FileSet, f *ast.File) []string {
	name := "" // of package time in this file
	for _, spec := range f.Imports {
		if path, _ := strconv.Unquote(spec.Path.Value); path == "time" {
			name = "time"
			if spec.Name != nil {
				name = spec.Name.Name
			}
		}
	}
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && name != "" && x.Name == name && slices.Contains(clockReaders, s.Sel.Name) {
			found = append(found, fmt.Sprintf("%s: time.%s: a pure package is told the time", fset.Position(n.Pos()), s.Sel.Name))
		}
		return true
	})
	if name == "." {
		found = append(found, fset.Position(f.Pos()).String()+": a pure package must not import time with a dot")
	}
	return found
}

// watchSources looks at every Go file of the module. go test keeps a result for
// as long as the files that the test looked at are the same, and it does not
// see what go list looks at.
func watchSources(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// list asks go for all packages of the module and what they need.
func list(t *testing.T) []pkg {
	t.Helper()
	watchSources(t, "..")
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,Imports,Deps", module+"/...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, module+"/") {
			packages = append(packages, p)
		}
	}
}

func TestDirection(t *testing.T) {
	packages := list(t)
	for _, v := range violations(packages) {
		t.Error(v)
	}
	seen := 0
	for _, p := range packages {
		if !pure(p.ImportPath) {
			continue
		}
		seen++
		fset := token.NewFileSet()
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, use := range clockUses(fset, f) {
				t.Error(use)
			}
		}
	}
	if seen < 6 {
		t.Errorf("go list found %d pure packages, want at least 6: is the module's name still %s?", seen, module)
	}
}

func TestViolations(t *testing.T) {
	tests := []struct {
		path    string
		imports []string
		deps    []string
		broken  bool
	}{
		{path: "shared/judge", deps: []string{"routewatch/exporter/internal/engine"}, broken: true},
		{path: "shared/wire", deps: []string{"routewatch/cli/internal/render"}, broken: true},
		{path: "shared/judge", imports: []string{"time"}, deps: []string{"os", "sync"}},
		{path: "shared/judge", imports: []string{"sync"}, broken: true},
		{path: "shared/lease", imports: []string{"os"}, broken: true},
		{path: "shared/mend", imports: []string{"log/slog"}, broken: true},
		{path: "shared/verdict", imports: []string{"context"}, broken: true},
		{path: "shared/expect", imports: []string{"net/http"}, broken: true},
		{path: "shared/netstate", imports: []string{"net/netip"}},
		{path: "cli", deps: []string{"routewatch/exporter/internal/api"}, broken: true},
		{path: "cli/internal/client", deps: []string{"routewatch/exporter"}, broken: true},
		{path: "cli", deps: []string{"routewatch/shared/wire", "routewatch/exporters"}},
		{path: "cli", imports: []string{"github.com/jsimonetti/rtnetlink/v2"}, broken: true},
		{path: "exporter", imports: []string{"github.com/mdlayher/netlink"}, broken: true},
		{path: "exporter/internal/engine", imports: []string{"github.com/mdlayher/netlink/nlenc"}, broken: true},
		{path: "exporter/internal/kernels", imports: []string{"github.com/mdlayher/netlink"}, broken: true},
		{path: "exporter", deps: []string{"github.com/mdlayher/netlink"}},
		{path: "exporter/internal/kernel", imports: []string{"github.com/mdlayher/netlink"}},
		{path: "deploy/lab/netns", imports: []string{"github.com/jsimonetti/rtnetlink/v2"}},
		{path: "exporter/internal/kernel", imports: []string{"golang.zx2c4.com/wireguard/wgctrl"}},
		{path: "exporter/internal/repair", imports: []string{"golang.zx2c4.com/wireguard/wgctrl/wgtypes"}, broken: true},
		{path: "deploy/lab", imports: []string{"golang.zx2c4.com/wireguard/wgctrl"}, broken: true},
		{path: "exporter/internal/leases/file", imports: []string{"k8s.io/client-go/rest"}, broken: true},
		{path: "exporter/internal/leases/kube", imports: []string{"k8s.io/client-go/rest"}},
		{path: "exporter/internal/engine", imports: []string{"github.com/prometheus/client_golang/prometheus"}, broken: true},
		{path: "exporter", imports: []string{"github.com/prometheus/client_golang/prometheus"}},
		{path: "exporter/internal/metrics", imports: []string{"github.com/prometheus/client_golang/prometheus"}},
		{path: "deploy/lab/standin", deps: []string{"routewatch/shared/expect"}, broken: true},
		{path: "deploy/lab/standin", deps: []string{"routewatch/shared/lease"}},
	}
	for _, tt := range tests {
		got := violations([]pkg{{ImportPath: module + "/" + tt.path, Imports: tt.imports, Deps: append(tt.deps, tt.imports...)}})
		if (len(got) > 0) != tt.broken {
			t.Errorf("%s with %v %v: got %q, want broken %t", tt.path, tt.imports, tt.deps, got, tt.broken)
		}
	}
}

func TestClockUses(t *testing.T) {
	tests := []struct {
		source string
		want   []string
	}{
		{"package p\nimport \"time\"\nvar _ = time.Now()", []string{"x.go:3:9: time.Now: a pure package is told the time"}},
		{"package p\nimport \"time\"\nvar now = time.Now", []string{"x.go:3:11: time.Now: a pure package is told the time"}},
		{"package p\nimport clock \"time\"\nvar _ = clock.Since(clock.Time{})", []string{"x.go:3:9: time.Since: a pure package is told the time"}},
		{"package p\nimport . \"time\"\nvar _ = Now()", []string{"x.go:1:1: a pure package must not import time with a dot"}},
		{"package p\nimport \"time\"\nvar _ = time.Time{}.Sub(time.Time{}).Round(time.Second)", nil},
		{"package p\nvar time struct{ Now int }\nvar _ = time.Now", nil},
	}
	for _, tt := range tests {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", tt.source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, clockUses(fset, f)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.source, diff)
		}
	}
}
