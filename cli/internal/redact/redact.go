// Package redact takes secrets out of text that a person is going to give away:
// logs, documents, metrics. It is pure. It rather hides too much than too little,
// but cannot know a secret that looks like any other word.
package redact

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Mark stands where a secret was.
const Mark = "[redacted]"

// secretive are the words that make the name of a flag, a field or a variable
// that of a secret. A WireGuard public key is none.
const secretive = `(?:pass(?:word|wd|phrase|code)|pwd|secret|token|credentials?|` +
	`(?:api|private|preshared|access|signing|encryption)[-_ ]?key|key[-_]?data|\bpsk|\bauth)`

const (
	// name is that of a secret, with what may be in front of and behind the word.
	name = `[\w.\-]*` + secretive
	// quoted is a text in quotes, also in those of a text in quotes; one without an
	// end goes to the end of the line.
	quoted = `\\+"[^"\n]*"?|"(?:[^"\\\n]|\\[^\n])*"?|'[^'\n]*'?`
	// list is that of Go, JSON or YAML.
	list     = `\[[^\]\n]*\]?`
	pemBegin = `-----BEGIN [A-Z0-9 ]*PRIVATE KEY`
	pemEnd   = `-----END [A-Z0-9 ]*PRIVATE KEY-----`
	// word ends where a space or a quote is.
	word   = `[^\s"']+`
	either = quoted + `|` + word
)

// hints are parts of the names of secrets, of which each has one. A regular
// expression takes long for a document of some MiB, and most have none of these.
var hints = []string{"pass", "pwd", "secret", "token", "credential", "key", "psk", "auth"}

// rule finds secrets: what value matches behind key, or anywhere if key is nil. It
// is asked only about a text that has one of the hints, in lower case; nil: always.
type rule struct {
	hints      []string
	key, value *regexp.Regexp
}

var rules = []rule{
	// Private keys in PEM. A log may end within one; see also headless.
	{[]string{"private key"}, nil, regexp.MustCompile(`(?s)` + pemBegin + `.*?(?:` + pemEnd + `|\z)`)},
	// Name and value: password=x, "token": "x", Password:x, PrivateKey = x, client-key-data: x.
	{hints, regexp.MustCompile(`(?i)` + secretive + `[\w.\-]*[\])"'\\]*\s*[:=]+>?\s*`), behind(quoted + `|` + list + `|` + word)},
	// A flag and its value as two words, or as two texts in quotes.
	{hints, regexp.MustCompile(`(?i)--?` + name + `[\w.\-]*\\*["']?,?[ \t]+`), behind(either)},
	{hints, regexp.MustCompile(`(?i)--?` + name + `[\w.\-]*\\*["'],\\*`), behind(quoted)},
	// A variable of a container.
	{hints, regexp.MustCompile(`(?i)name\\*["']?\s*:\s*\\*["']?` + name + `[\w.\-]*[\s"',\\]*value\\*["']?\s*:\s*`), behind(either)},
	// Headers.
	{[]string{"authorization", "cookie"}, regexp.MustCompile(`(?i)(?:authorization|cookie)[\])"'\\]*\s*[:=]\s*`), behind(`[^\n]+`)},
	{[]string{"bearer", "basic"}, regexp.MustCompile(`(?i)\b(?:bearer|basic)(?:\s+token)?[\s:="'\\]+`), behind(word)},
	// User and password of a URL, or of a host without a scheme.
	{nil, regexp.MustCompile(`://`), behind(`[^\s"'<>/]*@`)},
	{[]string{"@"}, nil, regexp.MustCompile(`[\w.\-]+:[^\s"'<>/@]+@`)},
	// What has a form of its own: a JWT, tokens of kubeadm, k3s, GitHub, GitLab, Slack and AWS.
	{nil, nil, regexp.MustCompile(`eyJ[\w\-]{4,}\.[\w\-]+(?:\.[\w\-]*)?`)},
	{nil, nil, regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)},
	{nil, nil, regexp.MustCompile(`\bK10[0-9a-f]{16,}\S*`)},
	{nil, nil, regexp.MustCompile(`\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-|AKIA|ASIA)[\w\-]{12,}`)},
}

func behind(pattern string) *regexp.Regexp { return regexp.MustCompile(`\A(?:` + pattern + `)`) }

// span is a part of a text, from and to in bytes.
type span struct{ from, to int }

// Text returns the text with a Mark for each secret, and how many there were. All
// rules look at the text as it was: none can hide from another what it looks for.
func Text(text string) (clean string, found int) {
	spans := headless(text)
	lower := strings.ToLower(text)
	has := func(hint string) bool { return strings.Contains(lower, hint) }
	for _, r := range rules {
		if r.hints != nil && !slices.ContainsFunc(r.hints, has) {
			continue
		}
		spans = append(spans, r.find(text)...)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.from-b.from, a.to-b.to) })
	var b strings.Builder
	done := 0 // so much is written or hidden
	for _, s := range spans {
		if s.to <= done {
			continue
		}
		if s.from >= done {
			b.WriteString(text[done:s.from] + Mark)
			found++
		}
		done = s.to
	}
	return b.String() + text[done:], found
}

func (r rule) find(text string) []span {
	var spans []span
	if r.key == nil {
		for _, at := range r.value.FindAllStringIndex(text, -1) {
			spans = append(spans, inner(text, span{at[0], at[1]}))
		}
		return spans
	}
	for _, at := range r.key.FindAllStringIndex(text, -1) {
		if v := r.value.FindStringIndex(text[at[1]:]); v != nil {
			spans = append(spans, inner(text, span{at[1], at[1] + v[1]}))
		}
	}
	return slices.DeleteFunc(spans, func(s span) bool { return s.from == s.to })
}

var begin, end = regexp.MustCompile(pemBegin), regexp.MustCompile(pemEnd)

// headless is what is in front of the end of a private key that begins nowhere:
// the log began later.
func headless(text string) []span {
	last := end.FindStringIndex(text)
	if last == nil || begin.MatchString(text[:last[0]]) {
		return nil
	}
	return []span{{0, last[1]}}
}

// inner leaves the quotes around a secret, so that a JSON document stays one, and
// the @ behind it.
func inner(text string, s span) span {
	value := text[s.from:s.to]
	if strings.HasSuffix(value, "@") {
		return span{s.from, s.to - 1}
	}
	open := len(value) - len(strings.TrimLeft(value, `\`))
	if open >= len(value) || (value[open] != '"' && value[open] != '\'') {
		return s
	}
	body := value[open+1:]
	closed, ok := strings.CutSuffix(body, value[open:open+1])
	if ok {
		body = strings.TrimRight(closed, `\`)
	}
	return span{s.from + open + 1, s.from + open + 1 + len(body)}
}
