//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// exporter is a running routewatch-exporter, as it is shipped.
type exporter struct {
	url    string
	cmd    *exec.Cmd
	log    string
	remove func()
}

// exporterProgram is the one of -exporter, or one that is built from this checkout.
func exporterProgram(o options) (string, error) {
	if o.exporter != "" {
		return o.exporter, nil
	}
	return built()
}

// built is the exporter of this checkout.
var built = sync.OnceValues(func() (string, error) { return buildGo("../..", "./exporter", "routewatch-exporter") })

// buildGo builds a program of the module in a folder, seen from exporter/bench.
func buildGo(folder, what, name string) (program string, err error) {
	dir, err := temporary()
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, name)
	build := exec.Command("go", "-C", folder, "build", "-trimpath", "-o", program, what)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s, in exporter/bench: %w: %s", name, err, out)
	}
	return program, nil
}

// startExporter starts an exporter that watches the world, and waits until it
// has read the leases and the kernel.
func startExporter(o options, w *world, flags ...string) (*exporter, error) {
	program, err := exporterProgram(o)
	if err != nil {
		return nil, err
	}
	leases, remove, err := w.leasesFile()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		remove()
		return nil, err
	}
	e := &exporter{url: "http://" + address, log: filepath.Join(filepath.Dir(leases), "log"), remove: remove}
	e.cmd = exec.Command(program, append([]string{
		"--node-name", self, "--leases", "file", "--leases.file", leases, "--netns", w.Path(), "--web.listen-address", address,
	}, flags...)...)
	if err := e.start(); err != nil {
		remove()
		return nil, err
	}
	if err := e.waitReady(); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// start has it write its log into a file, as a container runtime does.
func (e *exporter) start() error {
	log, err := os.Create(e.log)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	e.cmd.Stdout, e.cmd.Stderr = log, log
	return e.cmd.Start()
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (e *exporter) waitReady() error {
	err := answers(http.DefaultClient, e.url+"/-/ready")
	if err == nil {
		return nil
	}
	log, _ := os.ReadFile(e.log)
	return fmt.Errorf("the exporter is not ready: %w; its log:\n%s", err, log)
}

// answers waits until a page is there.
func answers(client *http.Client, url string) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := get(client, url); err == nil || time.Now().After(end) {
			return err
		}
	}
}

func (e *exporter) stop() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
	e.remove()
}

// get reads a page.
func get(client *http.Client, url string) ([]byte, error) {
	res, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", url, res.Status, body)
	}
	return body, err
}

// cpu is the CPU time that the exporter has taken so far, of threads that ended
// as well, by the clock that clock_getcpuclockid(3) names.
func (e *exporter) cpu() (time.Duration, error) {
	const cpuclockSched = 2 // linux/posix-timers.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^e.cmd.Process.Pid<<3|cpuclockSched), &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}

// spent is the CPU time that the exporter takes while something is done, and how
// long that lasts.
func (e *exporter) spent(do func() error) (cpu, lasted time.Duration, err error) {
	before, err := e.cpu()
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	lasted = time.Since(start)
	after, err := e.cpu()
	return after - before, lasted, err
}

// percent is the CPU time as a part of one core.
func percent(cpu, lasted time.Duration) float64 { return 100 * float64(cpu) / float64(lasted) }
