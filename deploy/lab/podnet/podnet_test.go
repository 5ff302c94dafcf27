//go:build linux

package podnet

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client may send the first bytes for the kubelet before it has read that the
// tunnel stands: none may be lost. A server that reads ahead has taken one of
// them when the connection is taken from it.
func TestTunnel_KeepsWhatCameEarly(t *testing.T) {
	n := Start()
	t.Cleanup(n.Close)
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil { // bytes that are lost are waited for
		t.Fatal(err)
	}
	client := tls.Client(&early{Conn: conn, reader: bufio.NewReader(conn)}, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own server
	request, err := http.NewRequest(http.MethodGet, "https://node:10250/containerLogs/none/none/none", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.Write(client); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(client), request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("the kubelet answered %s to a request for a pod that it has not", response.Status)
	}
}

// early sends its request for a tunnel with the first bytes that are written,
// and takes the answer off what is read first.
type early struct {
	net.Conn
	reader     *bufio.Reader
	sent, open bool
}

func (e *early) Write(b []byte) (int, error) {
	if e.sent {
		return e.Conn.Write(b)
	}
	e.sent = true
	if _, err := io.WriteString(e.Conn, "CONNECT node:10250 HTTP/1.1\r\nHost: node:10250\r\n\r\n"+string(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (e *early) Read(b []byte) (int, error) {
	if !e.open {
		e.open = true
		response, err := http.ReadResponse(e.reader, &http.Request{Method: http.MethodConnect})
		if err != nil {
			return 0, err
		}
		_ = response.Body.Close() // empty
	}
	return e.reader.Read(b)
}
