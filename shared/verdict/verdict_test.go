package verdict_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"testing"

	"routewatch/shared/verdict"
)

// TestVocabulary reads the package's own source: every constant of a word's
// type must be in its list and the other way round, so that a new word cannot
// be half-added.
func TestVocabulary(t *testing.T) {
	lists := map[string][]verdict.Word{
		"State": verdict.States(), "Effect": verdict.Effects(), "Cause": verdict.Causes(), "NodeProblem": verdict.NodeProblems(),
		"EventType": verdict.EventTypes(),
	}
	file, err := parser.ParseFile(token.NewFileSet(), "verdict.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string]map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Type == nil || len(spec.Values) != 1 {
			return true
		}
		typ := spec.Type.(*ast.Ident).Name
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if constants[typ] == nil {
			constants[typ] = map[string]bool{}
		}
		constants[typ][value] = true
		return true
	})
	word := regexp.MustCompile(`^[a-z][a-z_]*$`)
	for typ, list := range lists {
		if len(constants[typ]) != len(list) {
			t.Errorf("%s: %d constants, %d words", typ, len(constants[typ]), len(list))
		}
		for _, w := range list {
			if !constants[typ][w.Name] {
				t.Errorf("%s: the word %q has no constant", typ, w.Name)
			}
			if !word.MatchString(w.Name) || w.Title == "" || w.Meaning == "" {
				t.Errorf("%s: %+v is not a complete word", typ, w)
			}
		}
	}
}

// The order of the states is the order in which they are tried; later parts rely on it.
func TestStates_Order(t *testing.T) {
	s := verdict.States()
	if s[0].Name != "unknown" || s[len(s)-1].Name != "ok" {
		t.Errorf("first %q, last %q", s[0].Name, s[len(s)-1].Name)
	}
}

func TestUnknownWordIsBad(t *testing.T) {
	if w := verdict.State("eaten_by_a_grue"); !w.Bad() || w.Healthy() {
		t.Error("a state that this version does not know must count as bad")
	}
	if verdict.Effect("teleported").Rank() >= verdict.Leaking.Rank() {
		t.Error("an effect that this version does not know must rank worst")
	}
	if got := verdict.Lookup(verdict.States(), "x"); got.Title != "x" {
		t.Errorf("%+v", got)
	}
}
