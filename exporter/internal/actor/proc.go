package actor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// process is the directory of a process in /proc. While it is open, it is of that
// process: another one that gets its pid is not seen through it.
type process struct {
	pid int
	dir int
}

func openProcess(pid int) (*process, error) {
	dir, err := unix.Open(filepath.Join("/proc", strconv.Itoa(pid)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &process{pid, dir}, nil
}

func (p *process) close() { _ = unix.Close(p.dir) }

// read reads the beginning of a file.
func (p *process) read(name string, buf []byte) ([]byte, error) {
	f, err := unix.Openat(p.dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.Read(f, buf)
	return buf[:max(n, 0)], errors.Join(err, unix.Close(f))
}

func (p *process) stat(buf []byte) (stat, error) {
	b, err := p.read("stat", buf)
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

func (p *process) status(buf []byte) (status, error) {
	b, err := p.read("status", buf)
	if err != nil {
		return status{}, err
	}
	return parseStatus(b)
}

// in reports whether the process lives in a network namespace, given a file of
// its /proc/net: each namespace has its own. Unlike /proc/PID/ns/net that tells
// it to anybody.
func (p *process) in(netns *unix.Stat_t) bool {
	var s unix.Stat_t
	err := unix.Fstatat(p.dir, "net/netlink", &s, 0)
	return err == nil && s.Ino == netns.Ino && s.Dev == netns.Dev
}

// holds reports whether a file descriptor of the process is that socket.
func (p *process) holds(fd, link string) bool {
	var buf [64]byte
	n, err := unix.Readlinkat(p.dir, "fd/"+fd, buf[:])
	return err == nil && string(buf[:n]) == link
}

// find returns the file descriptor that is that socket; "" is none.
func (p *process) find(link string) (string, error) {
	dir, err := unix.Openat(p.dir, "fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(dir), "fd")
	defer f.Close()
	fds, err := f.Readdirnames(-1)
	for _, fd := range fds {
		if p.holds(fd, link) {
			return fd, nil
		}
	}
	return "", err
}

// processes lists the pids in /proc.
func processes() ([]int, error) {
	f, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

func socketLink(ino uint64) string { return "socket:[" + strconv.FormatUint(ino, 10) + "]" }

// inodeOf finds the NETLINK_ROUTE socket with that port in /proc/net/netlink;
// 0 is none. The columns are those of netlink_native_seq_show in the kernel:
// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode.
func inodeOf(table []byte, portID uint32) uint64 {
	for line := range bytes.Lines(table) {
		fields := bytes.Fields(line)
		if len(fields) != 10 || string(fields[1]) != "0" {
			continue
		}
		if port, err := strconv.ParseUint(string(fields[2]), 10, 32); err != nil || uint32(port) != portID {
			continue
		}
		ino, err := strconv.ParseUint(string(fields[9]), 10, 64)
		if err != nil {
			return 0
		}
		return ino
	}
	return 0
}

// errFormat is what a file of /proc yields that is not as proc(5) says.
var errFormat = errors.New("unexpected format")

// stat is what matters of /proc/PID/stat.
type stat struct {
	comm  string
	flags uint64
	start time.Duration // since boot
}

const (
	pfKthread = 0x00200000 // PF_KTHREAD of linux/sched.h
	tick      = time.Second / 100
)

// parseStat reads it; comm may hold spaces and parentheses itself.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, errFormat
	}
	fields := bytes.Fields(b[end+1:]) // from the third on, see proc(5)
	if len(fields) < 20 {
		return stat{}, errFormat
	}
	flags, err := strconv.ParseUint(string(fields[9-3]), 10, 64)
	if err != nil {
		return stat{}, errFormat
	}
	ticks, err := strconv.ParseUint(string(fields[22-3]), 10, 64)
	if err != nil || ticks > uint64(1<<63-1)/uint64(tick) {
		return stat{}, errFormat
	}
	return stat{string(b[open+1 : end]), flags, time.Duration(ticks) * tick}, nil
}

func (s stat) kernel() bool { return s.flags&pfKthread != 0 }

// status is what matters of /proc/PID/status.
type status struct {
	pids   []int // NSpid: in each pid namespace, from that of /proc to its own
	capEff uint64
}

func parseStatus(b []byte) (status, error) {
	var s status
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(name) {
		case "NSpid":
			for _, field := range bytes.Fields(value) {
				pid, err := strconv.ParseInt(string(field), 10, 32)
				if err != nil {
					return status{}, errFormat
				}
				s.pids = append(s.pids, int(pid))
			}
		case "CapEff":
			var err error
			if s.capEff, err = strconv.ParseUint(string(value), 16, 64); err != nil {
				return status{}, errFormat
			}
		}
	}
	if len(s.pids) == 0 {
		return status{}, errFormat
	}
	return s, nil
}

// nested reports whether the process is in a pid namespace below that of /proc.
func (s status) nested() bool { return len(s.pids) > 1 }

// number is what its own pid namespace calls the process.
func (s status) number() int { return s.pids[len(s.pids)-1] }

func (s status) netAdmin() bool { return s.capEff&(1<<unix.CAP_NET_ADMIN) != 0 }
