package flight

import (
	"bytes"
	"compress/flate"
	"fmt"
)

// Framed is a recording whose only record has this body.
func Framed(plain []byte) []byte {
	var zipped bytes.Buffer
	zip, _ := flate.NewWriter(&zipped, flate.BestSpeed)
	_, _ = zip.Write(plain)
	_ = zip.Flush()
	b := appendFrame(fmt.Appendf(nil, "%s%d\n", Magic, Format), kindHead, []byte("{}"))
	return appendFrame(b, kindFull, zipped.Bytes())
}
