package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

var (
	platforms = []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}
	machines  = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	binaries  = []string{"routewatch", "routewatch-exporter"}
)

const user = "65532:65532"

// source is what the image is made of.
type source struct {
	dir               string // has OS_ARCHITECTURE/BINARY
	version, revision string
	date              time.Time
}

func build(s source) (built, error) {
	b := built{images: map[string]v1.Image{}, index: empty.Index}
	base, err := layer(s.date, baseFiles())
	if err != nil {
		return b, err
	}
	for _, p := range platforms {
		files, err := programs(s.dir, p)
		if err != nil {
			return b, err
		}
		own, err := layer(s.date, files)
		if err != nil {
			return b, err
		}
		image, err := image(s, p, base, own)
		if err != nil {
			return b, err
		}
		b.images[p.Architecture] = image
		b.index = mutate.AppendManifests(b.index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return b, nil
}

func image(s source, p v1.Platform, layers ...v1.Layer) (v1.Image, error) {
	i := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	i, err := mutate.AppendLayers(i, layers...)
	if err != nil {
		return nil, err
	}
	config, err := i.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = p.OS, p.Architecture, v1.Time{Time: s.date}
	config.Config = v1.Config{
		User:         user,
		Env:          []string{"PATH=/usr/bin"},
		Entrypoint:   []string{"/usr/bin/routewatch-exporter"},
		ExposedPorts: map[string]struct{}{"10098/tcp": {}},
		Labels:       s.labels(),
	}
	return mutate.ConfigFile(i, config)
}

func (s source) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "routewatch",
		"org.opencontainers.image.description": "Watches that the kernel has what flannel's leases need",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     s.version,
		"org.opencontainers.image.revision":    s.revision,
	}
}

// file is one entry of a layer; a directory has no content.
type file struct {
	name    string
	mode    int64
	content []byte
}

// baseFiles are for a user to have a name, and TLS to public servers somebody
// to trust: Mozilla's roots, by the version of a module and not by what the
// machine has that builds.
func baseFiles() []file {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // it is trusted only under conditions, which a file cannot tell
		}
		_ = pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a Buffer takes all
	}
	return []file{
		{"etc/", 0o755, nil},
		{"etc/group", 0o444, []byte("root:x:0:\nroutewatch:x:65532:\n")},
		{"etc/passwd", 0o444, []byte("root:x:0:0:root:/:/sbin/nologin\nroutewatch:x:65532:65532:routewatch:/:/sbin/nologin\n")},
		{"etc/ssl/", 0o755, nil},
		{"etc/ssl/certs/", 0o755, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o444, roots.Bytes()},
		{"usr/", 0o755, nil},
		{"usr/bin/", 0o755, nil},
	}
}

// programs reads the binaries, and refuses those that would not start.
func programs(dir string, p v1.Platform) ([]file, error) {
	var files []file
	for _, name := range binaries {
		path := filepath.Join(dir, p.OS+"_"+p.Architecture, name)
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w: type make image, which builds it", err)
		}
		program, err := elf.NewFile(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("%s is no program for Linux: %w", path, err)
		}
		if want := machines[p.Architecture]; program.Machine != want {
			return nil, fmt.Errorf("%s is for %s: expected %s", path, program.Machine, want)
		}
		for _, segment := range program.Progs {
			if segment.Type == elf.PT_INTERP {
				return nil, fmt.Errorf("%s is linked dynamically, and the image has no libraries: build it with CGO_ENABLED=0", path)
			}
		}
		files = append(files, file{"usr/bin/" + name, 0o555, content})
	}
	return files, nil
}

// layer has nothing of the machine that builds: all files are root's and of one date.
func layer(date time.Time, files []file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: date, Format: tar.FormatUSTAR}
		if f.content == nil {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}
