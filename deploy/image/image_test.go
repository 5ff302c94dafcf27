package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// program is the smallest file that is a program for a machine.
func program(t *testing.T, machine elf.Machine, segments ...elf.ProgType) []byte {
	t.Helper()
	h := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(segments)),
	}
	var b bytes.Buffer
	parts := []any{h}
	for _, s := range segments {
		parts = append(parts, elf.Prog64{Type: uint32(s)})
	}
	for _, p := range parts {
		if err := binary.Write(&b, binary.LittleEndian, p); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// binariesIn writes what `make image` builds, as far as it matters here.
func binariesIn(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range platforms {
		at := filepath.Join(dir, "linux_"+p.Architecture)
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range binaries {
			put(t, filepath.Join(at, name), append(program(t, machines[p.Architecture], elf.PT_LOAD), name...))
		}
	}
	return dir
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func digest(t *testing.T, s source) v1.Hash {
	t.Helper()
	b, err := build(s)
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Another folder, another age and other modes of the same binaries: one digest.
func TestBuild_Reproducible(t *testing.T) {
	first, second := binariesIn(t), binariesIn(t)
	path := filepath.Join(second, "linux_amd64", "routewatch")
	if err := errors.Join(os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)), os.Chmod(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	want := digest(t, source{dir: first, version: "v1"})
	if got := digest(t, source{dir: second, version: "v1"}); got != want {
		t.Errorf("two builds of the same have the digests %s and %s", want, got)
	}
	if got := digest(t, source{dir: first, version: "v2"}); got == want {
		t.Error("another version has the same digest")
	}
	put(t, path, program(t, elf.EM_X86_64))
	if got := digest(t, source{dir: second, version: "v1"}); got == want {
		t.Error("another binary has the same digest")
	}
}

func TestRun_Write(t *testing.T) {
	dir, out := binariesIn(t), filepath.Join(t.TempDir(), "new", "image")
	args := []string{"-binaries", dir, "-out", out, "-image", "registry.example/routewatch:v1", "-version", "v1", "-revision", "abc", "-epoch", "1795435140"}
	var stdout bytes.Buffer
	if err := run(t.Context(), args, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(out, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want := "registry.example/routewatch:v1@" + manifest.Manifests[0].Digest.String() + "\n"
	if stdout.String() != want || manifest.Manifests[0].Annotations["io.containerd.image.name"] != "registry.example/routewatch:v1" {
		t.Errorf("printed %q, and the layout names %v; want %q", stdout.String(), manifest.Manifests[0].Annotations, want)
	}
	for _, p := range platforms {
		t.Run(p.String(), func(t *testing.T) {
			tag, err := name.NewTag("registry.example/routewatch:v1")
			if err != nil {
				t.Fatal(err)
			}
			image, err := tarball.ImageFromPath(filepath.Join(out, "routewatch-linux-"+p.Architecture+".tar"), &tag)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, image, p)
		})
	}
	if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("got error %v for a folder that is there already, want one that says to remove it", err)
	}
}

func checkImage(t *testing.T, image v1.Image, p v1.Platform) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got := []string{config.OS, config.Architecture, config.Config.User, config.Config.Entrypoint[0], config.Config.Env[0],
		config.Config.Labels["org.opencontainers.image.version"], config.Config.Labels["org.opencontainers.image.revision"], fmt.Sprint(config.Created.Unix())}
	want := []string{"linux", p.Architecture, "65532:65532", "/usr/bin/routewatch-exporter", "PATH=/usr/bin", "v1", "abc", "1795435140"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	contents, listing := filesOf(t, image)
	wantFiles := `etc/ 755
etc/group 444
etc/passwd 444
etc/ssl/ 755
etc/ssl/certs/ 755
etc/ssl/certs/ca-certificates.crt 444
usr/ 755
usr/bin/ 755
usr/bin/routewatch 555
usr/bin/routewatch-exporter 555
`
	if diff := cmp.Diff(wantFiles, listing); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if !strings.Contains(contents["etc/passwd"], ":65532:65532:") {
		t.Errorf("the user has no entry in passwd: %s", contents["etc/passwd"])
	}
	if n := strings.Count(contents["etc/ssl/certs/ca-certificates.crt"], "BEGIN CERTIFICATE"); n < 100 ||
		!x509.NewCertPool().AppendCertsFromPEM([]byte(contents["etc/ssl/certs/ca-certificates.crt"])) {
		t.Errorf("got %d root certificates, want at least 100", n)
	}
}

// filesOf returns the content of every file, and a list of them in order.
func filesOf(t *testing.T, image v1.Image) (map[string]string, string) {
	t.Helper()
	contents, listing := map[string]string{}, ""
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		u, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(u); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			content, err2 := io.ReadAll(r)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			contents[h.Name] = string(content)
			listing += fmt.Sprintf("%s %o\n", h.Name, h.Mode)
			if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 1795435140 {
				t.Errorf("%s is of %d:%d and %s, want root's and of the given date", h.Name, h.Uid, h.Gid, h.ModTime)
			}
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return contents, listing
}

func TestRun_Push(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/routewatch:v1"
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"-binaries", binariesIn(t), "-push", "-image", ref}, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	pushed, err := name.ParseReference(strings.TrimSpace(stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range platforms {
		image, err := remote.Image(pushed, remote.WithPlatform(p))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(image); err != nil {
			t.Errorf("%s cannot be pulled whole: %v", p, err)
		}
	}
}

func TestRun_Errors(t *testing.T) {
	tests := map[string]struct {
		path    string // a binary to replace
		content []byte
		args    []string
		want    string
	}{
		"dynamic":       {"linux_amd64/routewatch", program(t, elf.EM_X86_64, elf.PT_INTERP), nil, "CGO_ENABLED=0"},
		"other machine": {"linux_arm64/routewatch", program(t, elf.EM_X86_64), nil, "expected EM_AARCH64"},
		"no program":    {"linux_arm64/routewatch-exporter", []byte("#!/bin/sh\n"), nil, "is no program for Linux"},
		"none":          {"", nil, []string{"-binaries", filepath.Join(t.TempDir(), "none")}, "type make image"},
		"name":          {"", nil, []string{"-image", "routewatch"}, "expected REGISTRY/NAME:TAG"},
		"nothing to do": {"", nil, []string{"-out", ""}, "give -out DIR"},
		"argument":      {"", nil, []string{"-nonsense"}, "-nonsense"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := binariesIn(t)
			if tt.path != "" {
				put(t, filepath.Join(dir, filepath.FromSlash(tt.path)), tt.content)
			}
			args := append([]string{"-binaries", dir, "-out", filepath.Join(t.TempDir(), "image")}, tt.args...)
			if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// The Dockerfile makes the same image, but for the age of the root certificates.
func TestDockerfile(t *testing.T) {
	raw, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	dockerfile := string(raw)
	want := []string{
		"\nFROM scratch\n", "CGO_ENABLED=0", "\nUSER " + user + "\n", "\nEXPOSE 10098/tcp\n", "\nENV PATH=/usr/bin\n", `ENTRYPOINT ["/usr/bin/routewatch-exporter"]`,
		"COPY --from=build /out/passwd /out/group /etc/\n",
		"/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n",
		"COPY --from=build /out/routewatch /out/routewatch-exporter /usr/bin/\n",
	}
	for _, f := range baseFiles() {
		if f.name == "etc/passwd" || f.name == "etc/group" {
			want = append(want, "'"+strings.ReplaceAll(string(f.content), "\n", `\n`)+"'")
		}
	}
	for label, value := range (source{version: "$VERSION", revision: "$REVISION"}).labels() {
		want = append(want, fmt.Sprintf("%s=%q", label, value))
	}
	for _, w := range want {
		if !strings.Contains(dockerfile, w) {
			t.Errorf("deploy/Dockerfile does not say %q", w)
		}
	}
}
