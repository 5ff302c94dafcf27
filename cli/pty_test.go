//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// onTerminal is a program that runs on a terminal of its own.
type onTerminal struct {
	cmd    *exec.Cmd
	screen *os.File // the side of the person
	output chan []byte
}

// startOnTerminal starts a program on a new pseudo terminal of a size.
func startOnTerminal(cmd *exec.Cmd, columns, rows int) (*onTerminal, error) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open a pseudo terminal: %w", err)
	}
	program, err := programSide(screen, columns, rows)
	if err != nil {
		return nil, errors.Join(err, screen.Close())
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // so that Ctrl-C is a signal
	err = errors.Join(cmd.Start(), program.Close())
	if err != nil {
		return nil, errors.Join(err, screen.Close())
	}
	t := &onTerminal{cmd, screen, make(chan []byte, 1)}
	go func() {
		var b bytes.Buffer
		_, _ = io.Copy(&b, screen) // ends with EIO when the program does
		t.output <- b.Bytes()
	}()
	return t, nil
}

// programSide opens the other side of the terminal and sets its size.
func programSide(screen *os.File, columns, rows int) (*os.File, error) {
	fd := int(screen.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock the pseudo terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("number of the pseudo terminal: %w", err)
	}
	size := &unix.Winsize{Col: uint16(columns), Row: uint16(rows)}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size); err != nil {
		return nil, fmt.Errorf("size of the pseudo terminal: %w", err)
	}
	return os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
}

// interrupt types Ctrl-C.
func (t *onTerminal) interrupt() error {
	_, err := t.screen.WriteString("\x03")
	return err
}

// wait returns all that the program wrote and its exit code.
func (t *onTerminal) wait() (string, int, error) {
	err := t.cmd.Wait()
	output := <-t.output
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil
	}
	return string(output), t.cmd.ProcessState.ExitCode(), errors.Join(err, t.screen.Close())
}
