package kernel

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchLength is how many datagrams one system call receives at most.
	batchLength = 8
	// receiveBytes is how long a datagram can be. The kernel fills one of a dump
	// up to 32 KiB when there is room for it.
	receiveBytes = 64 << 10
)

// errTruncated is a datagram that did not fit its buffer.
var errTruncated = errors.New("netlink datagram is longer than the receive buffer")

// batch is what one recvmmsg receives.
type batch struct {
	slots    [batchLength]slot
	headers  [batchLength]mmsghdr // of slots
	received int                  // datagrams
	taken    int                  // of them
	errno    unix.Errno
	// atOnce: nothing can make the kernel wait in fill, as it does for the lock that
	// a dump goes on under. The Go scheduler is then not told of the system call,
	// which would wake its monitor thread for each event: more work than the event.
	atOnce bool
	look   func(fd uintptr) // is fill, made once: it would be an allocation for each call
}

// slot is where one datagram goes.
type slot struct {
	buf  []byte
	iov  unix.Iovec // of buf
	from unix.RawSockaddrNetlink
}

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	n uint32 // bytes, with those that did not fit
}

func newBatch() *batch {
	b := &batch{}
	b.look = b.fill
	for i := range b.slots {
		to, h := &b.slots[i], &b.headers[i]
		to.buf = make([]byte, receiveBytes)
		to.iov.Base = &to.buf[0]
		to.iov.SetLen(receiveBytes)
		h.Iov, h.Name = &to.iov, (*byte)(unsafe.Pointer(&to.from))
		h.SetIovlen(1)
	}
	return b
}

// fill receives what is there, without waiting.
func (b *batch) fill(fd uintptr) {
	for i := range b.headers {
		b.headers[i].Namelen = unix.SizeofSockaddrNetlink
	}
	b.received, b.taken = 0, 0
	for {
		var n uintptr
		var errno unix.Errno
		if b.atOnce {
			n, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), batchLength,
				unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		} else {
			n, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), batchLength,
				unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		}
		if b.errno = errno; errno == 0 {
			b.received = int(n)
		}
		if errno != unix.EINTR {
			return
		}
	}
}

// left is how many datagrams were not taken yet.
func (b *batch) left() int { return b.received - b.taken }

// datagram takes the next datagram, or the error of fill; it is valid until the
// next fill. It is empty if another process sent it: only the kernel has port id 0.
func (b *batch) datagram() ([]byte, error) {
	if b.errno != 0 {
		return nil, os.NewSyscallError("recvmmsg", b.errno)
	}
	from, h := &b.slots[b.taken], &b.headers[b.taken]
	b.taken++
	switch {
	case h.Namelen < unix.SizeofSockaddrNetlink || from.from.Pid != 0:
		return nil, nil
	case h.n > receiveBytes:
		return nil, errTruncated
	}
	return from.buf[:h.n], nil
}
