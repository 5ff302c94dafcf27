# routewatch needs Go, git and make; nothing else. `make` lists the targets.

# git may be absent, or refuse a checkout that belongs to another user.
VERSION  := $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
REVISION := $(or $(shell git rev-parse HEAD 2>/dev/null),unknown)
STAMP    := github.com/prometheus/common/version
LDFLAGS  := -X $(STAMP).Version=$(VERSION) -X $(STAMP).Revision=$(REVISION)

# The stamps above replace the ones that go takes from git, which fail where git does.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

# The linter is kept outside the checkout, by its version and that of Go: a
# linter that was built by an older Go refuses the code of a newer one.
TOOLS     = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/routewatch/tools
LINT_MOD := .ci/tools/golangci-lint
LINT      = $(TOOLS)/golangci-lint-$(shell sed -n 's|.*/golangci-lint/v2 \(v[^ ]*\).*|\1|p' $(LINT_MOD)/go.mod)-$(shell go env GOVERSION)

# Extra flags for `go test`, as in: make test TESTFLAGS='-v -run Flap'
TESTFLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help build demo test lint fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/routewatch-exporter, bin/routewatch and bin/routewatch-lab
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/routewatch-exporter ./exporter
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/routewatch ./cli
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/routewatch-lab ./deploy/lab

demo: build ## four nodes in network namespaces: break one, see it found, mend it
	bin/routewatch-lab demo

# The race detector needs cgo, and that a C compiler. With CI set, a test that
# cannot make its network namespace fails instead of being skipped.
test: ## vet, and all tests, those on a real kernel included
	go vet ./...
	@race=; if [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null; then race=-race; \
	else echo 'no C compiler: testing without the race detector'; fi; \
	set -x; $(if $(CI),ROUTEWATCH_REQUIRE_NETNS=1) go test $$race $(TESTFLAGS) ./...

lint: $(LINT) ## check the code with golangci-lint (built once into a cache)
	$(LINT) run ./...

fmt: $(LINT) ## format the code
	$(LINT) fmt ./...

clean: ## remove what build made
	rm -rf bin

# Renamed into place, so that an interrupted build leaves no broken linter.
$(LINT):
	mkdir -p $(@D)
	cd $(LINT_MOD) && CGO_ENABLED=0 go build -trimpath -o $@.new github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	mv $@.new $@
