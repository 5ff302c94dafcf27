package verdict

// letters are those of the states in a grid of leases. Each has its own, so
// that a grid can be read without colors.
var letters = map[State]rune{
	OK: '.', Pending: 'p', Unsupported: 'u', Unknown: '?', Conflict: 'C',
	VNIMismatch: 'V', LinkDown: 'L', Missing: 'M', Blackholed: 'B', Diverted: 'D',
	Shadowed: 'S', WrongDevice: 'W', WrongGateway: 'G', NeighborMissing: 'N', NeighborWrong: 'n',
	FDBMissing: 'F', FDBWrong: 'f', PeerMissing: 'P', PeerWrong: 'w', UnderlayDown: 'U',
}

// Letter is what stands for the state in a grid, '!' and false for a word that
// this version does not know.
func (s State) Letter() (letter rune, known bool) {
	if letter, known = letters[s]; !known {
		letter = '!'
	}
	return letter, known
}
