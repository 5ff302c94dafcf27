package api

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.json
var openAPI []byte

// openapi describes all of this for programs. Tests hold it against the routes,
// the types and real answers.
func (h handler) openapi(w http.ResponseWriter, r *http.Request) {
	if _, err := parameters(r); err != nil {
		Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
}
