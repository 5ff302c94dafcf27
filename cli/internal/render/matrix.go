package render

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// MatrixView is what the exporters of several nodes said, and the leases of each.
type MatrixView struct {
	ClusterView
	Leases [][]wire.Lease // of each of the Nodes
}

const (
	// letterSelf is a node as it sees itself, letterNone a peer of which a node
	// knows no lease; the others are those of the states.
	letterSelf = '\\'
	letterNone = '-'
	letterMute = '?' // of a node that does not answer, and of unknown
	// maxNames is how wide a grid may be that has names above its columns.
	maxNames = 100
)

// Matrix renders a grid of nodes and peers.
func Matrix(v MatrixView, o Options) string {
	c := &clusterPage{page: page{o: o, s: &wire.NodeStatus{}}, c: v.ClusterView}
	c.rows = c.sorted()
	c.head()
	m := &matrix{clusterPage: c, used: map[rune]string{}}
	m.fill(v)
	m.leaveOut()
	m.line("")
	m.draw()
	m.legend()
	m.mute()
	return m.b.String()
}

// matrix is the grid: a letter for each node (row) and peer (column).
type matrix struct {
	*clusterPage
	names  []string // of the rows
	peers  []string // of the columns
	cells  [][]rune
	notes  []string // behind the rows
	hidden int      // rows that are left out
	well   int      // columns that are left out
	used   map[rune]string
}

func (m *matrix) fill(v MatrixView) {
	known := map[string]bool{}
	for i, n := range v.Nodes {
		known[n.Status.Node] = true
		for _, l := range v.Leases[i] {
			known[l.Peer] = true
		}
	}
	for _, u := range v.Unreachable {
		if u.Node != "" {
			known[u.Node] = true
		}
	}
	m.peers = slices.SortedFunc(maps.Keys(known), natural)
	for i, n := range v.Nodes {
		m.names = append(m.names, n.Status.Node)
		m.cells = append(m.cells, m.row(n.Status.Node, v.Leases[i]))
		m.notes = append(m.notes, note(n))
	}
	for _, u := range v.Unreachable {
		m.names = append(m.names, or(u.Node, u.Exporter))
		m.cells = append(m.cells, slices.Repeat([]rune{letterMute}, len(m.peers)))
		m.notes = append(m.notes, "NO ANSWER")
		m.used[letterMute] = string(verdict.Unknown)
	}
	m.sortRows()
}

func (m *matrix) row(node string, leases []wire.Lease) []rune {
	worst := map[string]verdict.State{}
	for _, l := range leases {
		if old, ok := worst[l.Peer]; !ok || badness(l.State) > badness(old) {
			worst[l.Peer] = l.State
		}
	}
	cells := make([]rune, len(m.peers))
	for i, peer := range m.peers {
		state, ok := worst[peer]
		letter, known := state.Letter()
		word := string(state)
		switch {
		case peer == node && !ok:
			letter, word = letterSelf, "the node itself"
		case !ok:
			letter, word = letterNone, "no lease of it"
		case !known:
			word = "a word that this version does not know"
		}
		cells[i] = letter
		m.used[letter] = word
	}
	return cells
}

func badness(s verdict.State) int {
	switch {
	case s.Bad():
		return 3
	case !s.Healthy():
		return 2
	case s != verdict.OK:
		return 1
	}
	return 0
}

// note is what is wrong with a node and no cell shows.
func note(n NodeView) string {
	var words []string
	for _, np := range n.Status.NodeProblems {
		if !np.Problem.Info() {
			words = append(words, string(np.Problem))
		}
	}
	switch {
	case !n.Status.Complete:
		words = append(words, "not everything could be read")
	case n.Status.Old(n.Now):
		words = append(words, "an old answer")
	}
	return strings.Join(words, ", ")
}

func (m *matrix) sortRows() {
	order := make([]int, len(m.names))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return natural(m.names[a], m.names[b]) })
	names, cells, notes := m.names, m.cells, m.notes
	m.names, m.cells, m.notes = nil, nil, nil
	for _, i := range order {
		m.names, m.cells, m.notes = append(m.names, names[i]), append(m.cells, cells[i]), append(m.notes, notes[i])
	}
}

// natural orders node-2 before node-10: of two numbers the longer is larger.
func natural(a, b string) int {
	digits := func(s string) (head string, n int) {
		head = strings.TrimRight(s, "0123456789")
		n, err := strconv.Atoi(s[len(head):])
		if err != nil {
			n = -1
		}
		return head, n
	}
	headA, nA := digits(a)
	headB, nB := digits(b)
	return cmp.Or(cmp.Compare(headA, headB), cmp.Compare(nA, nB), cmp.Compare(a, b))
}

func quiet(letter rune) bool { return letter == '.' || letter == letterSelf }

// leaveOut drops the rows and the columns in which all is well, where there
// are more than a screen shows.
func (m *matrix) leaveOut() {
	if m.o.Wide || len(m.names) <= maxRows && len(m.peers) <= maxRows {
		return
	}
	for i := len(m.names) - 1; i >= 0; i-- {
		if m.notes[i] == "" && !slices.ContainsFunc(m.cells[i], func(r rune) bool { return !quiet(r) }) {
			m.names, m.cells, m.notes = slices.Delete(m.names, i, i+1), slices.Delete(m.cells, i, i+1), slices.Delete(m.notes, i, i+1)
			m.hidden++
		}
	}
	for j := len(m.peers) - 1; j >= 0; j-- {
		if slices.ContainsFunc(m.cells, func(row []rune) bool { return !quiet(row[j]) }) {
			continue
		}
		m.peers = slices.Delete(m.peers, j, j+1)
		for i := range m.cells {
			m.cells[i] = slices.Delete(m.cells[i], j, j+1)
		}
		m.well++
	}
}

// draw prints the grid with names above the columns where they fit, else with
// their numbers, in as many blocks as the terminal needs.
func (m *matrix) draw() {
	left := len("FROM \\ TO")
	for _, name := range m.names {
		left = max(left, utf8.RuneCountInString(name))
	}
	wide := left
	for _, peer := range m.peers {
		wide += gap + utf8.RuneCountInString(peer)
	}
	limit := m.o.Width
	if limit == 0 || limit > maxNames {
		limit = max(maxNames, limit)
	}
	if len(m.peers) > 0 && len(m.names) > 0 {
		if wide <= limit {
			m.block(left, 0, len(m.peers), func(j int) string { return m.peers[j] })
		} else {
			m.numbered(left)
		}
	}
	if m.hidden+m.well > 0 {
		m.line(fmt.Sprintf("... and %s and %s, with which all is well: %s -o wide",
			plural(m.hidden, "node"), plural(m.well, "peer"), m.o.Command))
	}
}

// numbered draws blocks of columns with numbers, and says whose they are.
func (m *matrix) numbered(left int) {
	width := len(strconv.Itoa(len(m.peers)))
	each := len(m.peers)
	if m.o.Width > 0 {
		each = max(1, (m.o.Width-left)/(width+1))
	}
	for from := 0; from < len(m.peers); from += each {
		if from > 0 {
			m.line("")
		}
		m.block(left, from, min(from+each, len(m.peers)), func(j int) string { return strconv.Itoa(j + 1) })
	}
	var who []string
	for j, peer := range m.peers {
		who = append(who, fmt.Sprintf("%d %s", j+1, peer))
	}
	m.line("")
	m.entry("PEERS", strings.Join(who, ", "), nil)
}

// block draws the columns from one to another, each below its head.
func (m *matrix) block(left, from, to int, head func(int) string) {
	widths := make([]int, to)
	space := gap
	if _, err := strconv.Atoi(head(from)); err == nil {
		space = 1
	}
	line := fmt.Sprintf("%-*s", left, "FROM \\ TO")
	for j := from; j < to; j++ {
		text := Clean(head(j))
		widths[j] = utf8.RuneCountInString(text)
		if space == 1 {
			widths[j] = len(strconv.Itoa(len(m.peers)))
		}
		line += strings.Repeat(" ", space) + fmt.Sprintf("%-*s", widths[j], text)
	}
	m.line(m.o.Style.heading(strings.TrimRight(line, " ")))
	for i, name := range m.names {
		line := fmt.Sprintf("%-*s", left, Clean(name))
		for j := from; j < to; j++ {
			line += strings.Repeat(" ", space) + m.paint(m.cells[i][j], widths[j])
		}
		if m.notes[i] != "" {
			line += "  " + m.o.Style.Unsure(Clean(m.notes[i]))
		}
		m.line(strings.TrimRight(line, " "))
	}
}

// paint fills the whole cell with its color.
func (m *matrix) paint(letter rune, width int) string {
	text := fmt.Sprintf("%-*s", width, string(letter))
	switch {
	case letter == '.':
		return m.o.Style.goodCell(text)
	case letter == letterSelf:
		return text
	case strings.ContainsRune("pu?-", letter):
		return m.o.Style.unsureCell(text)
	}
	return m.o.Style.badCell(text)
}

// legend says what the letters mean that were drawn.
func (m *matrix) legend() {
	drawn := map[rune]bool{}
	for _, row := range m.cells {
		for _, letter := range row {
			drawn[letter] = true
		}
	}
	if len(drawn) == 0 {
		return
	}
	var parts []string
	for _, letter := range slices.SortedFunc(maps.Keys(drawn), func(a, b rune) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a, b))
	}) {
		parts = append(parts, string(letter)+" "+m.used[letter])
	}
	m.entry("LETTERS", strings.Join(parts, ", "), nil)
}

// mute says why nodes do not answer.
func (m *matrix) mute() {
	t := &table{columns: []column{{title: "NO ANSWER", least: 12}, {title: "WHY", least: 30}}}
	for _, u := range m.c.Unreachable {
		if len(t.rows) < maxRows || m.o.Wide {
			t.add(plain(or(u.Node, u.Exporter)), plain(u.Problem))
		}
	}
	m.tableSection(t)
	if more := len(m.c.Unreachable) - len(t.rows); more > 0 {
		m.line(fmt.Sprintf("... and %s more: %s -o wide", number(more), m.o.Command))
	}
}

// order puts the letters that are no fault first.
func order(letter rune) int {
	if i := strings.IndexRune("\\.-pu?", letter); i >= 0 {
		return i
	}
	return len(verdict.States())
}
