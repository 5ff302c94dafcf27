// Image builds the container image of routewatch from finished binaries, for
// all platforms, without a container engine and without a base image. The same
// binaries give the same digest, wherever and whenever it runs, as long as it is
// built by the same Go, whose gzip compresses the layers.
//
// It writes what `docker load`, `ctr images import` and `kind load
// image-archive` read, one archive for each platform, and an OCI layout with
// all of them; with -push it sends the image to its registry instead.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var s source
	flags.StringVar(&s.dir, "binaries", "bin", "`DIR` with linux_amd64/ and linux_arm64/, each with the binaries")
	flags.StringVar(&s.version, "version", "unknown", "version that the labels name")
	flags.StringVar(&s.revision, "revision", "unknown", "commit that the labels name")
	epoch := flags.Int64("epoch", 0, "`SECONDS` since 1970 that every file and the image are dated")
	image := flags.String("image", "localhost/routewatch:dev", "`NAME:TAG` of the image")
	out := flags.String("out", "", "new `DIR` for the archives and the OCI layout")
	push := flags.Bool("push", false, "send the image to its registry, with the credentials of docker login")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s.date = time.Unix(*epoch, 0).UTC()
	tag, err := name.NewTag(*image, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("-image: %w: expected REGISTRY/NAME:TAG", err)
	}
	if *out == "" && !*push {
		return errors.New("there is nothing to do: give -out DIR, -push or both")
	}
	b, err := build(s)
	if err != nil {
		return err
	}
	if *out != "" {
		if err := write(*out, tag, b); err != nil {
			return err
		}
	}
	if *push {
		if err := remote.WriteIndex(tag, b.index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return fmt.Errorf("%s cannot be pushed: %w", tag, err)
		}
	}
	digest, err := b.index.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s@%s\n", tag, digest)
	return err
}

// write makes dir. One that is there already is refused, since blobs of another
// build would stay in the layout.
func write(dir string, tag name.Tag, b built) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("-out: %w: remove it, or choose another", err)
	}
	for _, p := range platforms {
		archive := filepath.Join(dir, fmt.Sprintf("routewatch-%s.tar", strings.ReplaceAll(p.String(), "/", "-")))
		if err := tarball.WriteToFile(archive, tag, b.images[p.Architecture]); err != nil {
			return fmt.Errorf("%s: %w", archive, err)
		}
	}
	oci, err := layout.Write(filepath.Join(dir, "oci"), empty.Index)
	if err != nil {
		return err
	}
	return oci.AppendIndex(b.index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag.TagStr(),
		"io.containerd.image.name":          tag.Name(),
	}))
}

// built is the image of each platform, and what holds them together.
type built struct {
	images map[string]v1.Image // by architecture
	index  v1.ImageIndex
}
