package lease

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

var (
	// A key at the very beginning of a line. A document that begins with one is
	// decoded to its end or not at all; of others the decoder may silently
	// leave out a rest.
	firstKey = regexp.MustCompile(`^[A-Za-z]+:(?:\s|$)`)
	// Line breaks that a YAML decoder sees and a person does not.
	oddBreak = regexp.MustCompile(`\r(?:[^\n]|$)|[\x{85}\x{2028}\x{2029}]`)
	// An anchor and an alias where a YAML token may begin.
	anchor = regexp.MustCompile(`(?:^|[\s\[\]{},:])&[0-9A-Za-z_-]`)
	alias  = regexp.MustCompile(`(?:^|[\s\[\]{},:])\*[0-9A-Za-z_-]`)
	// The line number in an error of the decoder.
	errorLine = regexp.MustCompile(`line (\d+): `)
)

// readYAML reads all documents of a YAML text.
func readYAML(b []byte) ([]item, error) {
	if len(b) > MaxYAML {
		return nil, fmt.Errorf("larger than %d MiB, which is too much YAML: use -o json", MaxYAML>>20)
	}
	if i := oddBreak.FindIndex(b); i != nil {
		return nil, fmt.Errorf("line %d: a line break that is neither LF nor CR LF", lineOf(b, i[0]))
	}
	// A small document could make a huge one of them.
	if i := alias.FindIndex(b); i != nil && anchor.Match(b) {
		return nil, fmt.Errorf("line %d: YAML anchors and aliases are not accepted, and kubectl prints none: use -o json", lineOf(b, i[1]-1))
	}
	documents, err := split(b)
	if err != nil {
		return nil, err
	}
	var all []item
	for _, d := range documents {
		items, err := d.read()
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
	}
	return all, nil
}

// yamlDocument is one document of a YAML text.
type yamlDocument struct {
	text []byte
	line int // of the first line of text, from 1
}

// split splits a YAML text at its document markers, "---" and "...". Documents
// that hold nothing but comments are left out.
func split(b []byte) ([]yamlDocument, error) {
	var documents []yamlDocument
	start, offset, line, firstLine := 0, 0, 0, 1
	add := func(end int) {
		if d := (yamlDocument{b[start:end], firstLine}); d.skipComments() {
			documents = append(documents, d)
		}
	}
	for l := range bytes.Lines(b) {
		line++
		if after, ok := marker(l); ok {
			if after != "" && after[0] != '#' {
				return nil, fmt.Errorf("line %d: nothing may follow %s on its line", line, l[:3])
			}
			add(offset)
			start, firstLine = offset+len(l), line+1
		}
		offset += len(l)
	}
	add(len(b))
	if len(documents) == 0 {
		return nil, errors.New("line 1: the input holds nothing but comments")
	}
	return documents, nil
}

// marker reports whether a line is a document marker, and what follows it.
func marker(line []byte) (string, bool) {
	if !bytes.HasPrefix(line, []byte("---")) && !bytes.HasPrefix(line, []byte("...")) {
		return "", false
	}
	s := strings.TrimRight(string(line), "\r\n")
	if len(s) > 3 && s[3] != ' ' && s[3] != '\t' {
		return "", false
	}
	return strings.TrimSpace(s[3:]), true
}

// skipComments drops the blank and comment lines at the beginning of a
// document and reports whether anything is left.
func (d *yamlDocument) skipComments() bool {
	for l := range bytes.Lines(d.text) {
		if t := bytes.TrimSpace(l); len(t) > 0 && t[0] != '#' {
			return true
		}
		d.text = d.text[len(l):]
		d.line++
	}
	return false
}

// read returns the objects in a document.
func (d yamlDocument) read() ([]item, error) {
	if !firstKey.Match(d.text) {
		return nil, fmt.Errorf("line %d: %s is not how Nodes begin", d.line, d.firstLine())
	}
	j, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		return nil, d.syntaxError(err)
	}
	items, err := decode(j)
	if err != nil {
		return nil, fmt.Errorf("line %d: %s: %s", d.line, d.firstLine(), describe(err))
	}
	return items, nil
}

// firstLine returns the first line of the document, quoted.
func (d yamlDocument) firstLine() string {
	line, _, _ := bytes.Cut(d.text, []byte("\n"))
	return quote(strings.TrimSpace(string(line)))
}

// syntaxError says what the decoder says, with the line in the whole input.
func (d yamlDocument) syntaxError(err error) error {
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	s = strings.TrimPrefix(s, "unmarshal errors:\n  ")
	s, _, _ = strings.Cut(s, "\n")
	line := d.line
	if m := errorLine.FindStringSubmatchIndex(s); m != nil {
		if n, err := strconv.Atoi(s[m[2]:m[3]]); err == nil {
			line += n - 1
			s = s[m[1]:]
		}
	}
	return fmt.Errorf("line %d: not YAML, or cut off: %s", line, brief(s))
}
