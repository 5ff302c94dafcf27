# routewatch needs Go, git and make; nothing else. `make` lists the targets.

# git may be absent, or refuse a checkout that belongs to another user.
VERSION  := $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
REVISION := $(or $(shell git rev-parse HEAD 2>/dev/null),unknown)
STAMP    := github.com/prometheus/common/version
LDFLAGS  := -X $(STAMP).Version=$(VERSION) -X $(STAMP).Revision=$(REVISION)

# The stamps above replace the ones that go takes from git, which fail where git does.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

# Tools that only check have a module each, .ci/tools/NAME, and are kept outside
# the checkout by their version and that of Go: a linter that was built by an
# older Go refuses the code of a newer one.
TOOLS    = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/routewatch/tools
tool     = $(TOOLS)/$(1)-$(shell sed -n 's|.*$(2) \(v[^ ]*\).*|\1|p' .ci/tools/$(1)/go.mod)-$(shell go env GOVERSION)
LINT     = $(call tool,golangci-lint,/golangci-lint/v2)
PROMTOOL = $(call tool,promtool,/prometheus/prometheus)
PINT     = $(call tool,pint,/cloudflare/pint)
OPENAPI  = $(call tool,openapi,/getkin/kin-openapi)
# installed PROGRAM,PACKAGES: has apt install the packages if the program is not there.
installed = command -v $(1) >/dev/null || { apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); }
BROWSER  = $(TOOLS)/browser-$(shell git hash-object .ci/tools/browser/package-lock.json | cut -c 1-8)
GRAFANA  = $(TOOLS)/grafana-$(shell git hash-object .ci/tools/grafana/build | cut -c 1-8)

# The parts of a real cluster have a module each, deploy/lab/parts/NAME, and are
# kept as the tools are, by what they are built from.
PARTS_DIR = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/routewatch/parts
part      = $(PARTS_DIR)/$(1)-$(shell sed -n 's|.*$(2) \(v[^ ]*\).*|\1|p' deploy/lab/parts/$(1)/go.mod)-$(shell go env GOVERSION)-$(call recipe,$(1))
recipe    = $(shell cat deploy/lab/parts/build deploy/lab/parts/$(1)/* | git hash-object --stdin | cut -c 1-8)
PARTS     = $(call part,etcd,/etcd/server/v3) $(call part,kube,k8s.io/kubernetes) $(call part,kwok,k8s.io/kwok) \
	$(call part,prometheus-operator,/prometheus-operator) $(call part,flannel,/flannel-io/flannel) \
	$(call part,prometheus,/prometheus/prometheus)

# Extra flags for `go test`, as in: make test TESTFLAGS='-v -run Flap'
TESTFLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help build demo test parts browser e2e grafana screenshots bench bench-record \
	lint rules boards openapi image push binaries manifests fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/routewatch-exporter, bin/routewatch and bin/routewatch-lab
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/routewatch-exporter ./exporter
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/routewatch ./cli
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/routewatch-lab ./deploy/lab

demo: build ## four nodes in network namespaces: break one, see it found, mend it
	bin/routewatch-lab demo

# The race detector needs cgo, and that a C compiler. With CI set, a test that
# cannot make its network namespace fails instead of being skipped.
test: ## vet, and all tests, those on a real kernel included; then rules and boards
	go vet ./...
	@race=; if [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null; then race=-race; \
	else echo 'no C compiler: testing without the race detector'; fi; \
	set -x; $(if $(CI),ROUTEWATCH_REQUIRE_NETNS=1) go test $$race -timeout 30m $(TESTFLAGS) ./...
	cd deploy/image && go vet ./... && go test $(TESTFLAGS) ./...
	cd exporter/bench && go vet ./... && go test $(TESTFLAGS) ./...
	$(MAKE) rules boards

parts: $(PARTS) ## build flannel and a Kubernetes control plane (once, into a cache; 10 minutes)

# Here nothing is skipped: what is missing is a failure. The soak takes five
# minutes, or as long as ROUTEWATCH_SOAK says, with the seed of ROUTEWATCH_SEED.
e2e: parts browser ## test on a real Kubernetes control plane, real flannel and a real browser
	go vet -tags e2e ./deploy/lab/...
	ROUTEWATCH_REQUIRE_NETNS=1 ROUTEWATCH_PARTS="$$(echo $(PARTS) | tr ' ' :)" ROUTEWATCH_BROWSER=$(BROWSER) \
		go test -tags e2e -count=1 -v -timeout 60m -run TestCluster_ $(TESTFLAGS) ./deploy/lab/e2e

browser: $(BROWSER) ## Chromium and Node.js, by apt where they are not there, and what drives it (once, into a cache)
	@$(call installed,chromium,chromium)

# Outside of e2e, since Grafana takes long to build. With PICTURES set to a folder
# it also writes what it sees there.
grafana: parts browser $(GRAFANA)/built ## open the dashboards in a real Grafana (built once, 10 minutes)
	ROUTEWATCH_REQUIRE_NETNS=1 ROUTEWATCH_PARTS="$$(echo $(PARTS) | tr ' ' :)" ROUTEWATCH_BROWSER=$(BROWSER) ROUTEWATCH_GRAFANA=$(GRAFANA) \
		ROUTEWATCH_SCREENSHOTS=$(PICTURES) go test -tags e2e -count=1 -v -timeout 15m -run TestGrafana ./deploy/lab/e2e

# What is written is what a person looks at; nothing is compared with it.
screenshots: browser ## write pictures of the page and of the dashboards into dashboards/screenshots
	ROUTEWATCH_REQUIRE_NETNS=1 ROUTEWATCH_BROWSER=$(BROWSER) ROUTEWATCH_SCREENSHOTS=$(CURDIR)/dashboards/screenshots \
		go test -tags e2e -count=1 -v -timeout 5m -run TestCluster_Page ./deploy/lab/e2e
	$(MAKE) grafana PICTURES=$(CURDIR)/dashboards/screenshots

# Ratios to peers, and with them the noise of the machine: leave it alone meanwhile.
# BENCHFLAGS are those of exporter/bench, as in: make bench BENCHFLAGS='-run flap -rounds 2'
BENCHFLAGS ?=
BENCH = cd exporter/bench && ROUTEWATCH_PARTS="$$(echo $(PARTS) | tr ' ' :)" go run . -exporter $(CURDIR)/bin/routewatch-exporter

bench: build parts ## measure routewatch beside its peers; fail where it got worse (half an hour, as root)
	$(BENCH) -against result.json -out $(CURDIR)/bin/bench.json $(BENCHFLAGS)

bench-record: build parts ## the same, and keep the result in exporter/bench/result.json and README.md
	$(BENCH) -out result.json -readme $(CURDIR)/README.md $(BENCHFLAGS)

lint: $(LINT) ## check the code with golangci-lint (built once into a cache)
	$(LINT) run ./...
	cd deploy/image && $(LINT) run ./...
	cd exporter/bench && $(LINT) run ./...

rules: $(PROMTOOL) $(PINT) ## check and test the alerts with promtool and pint (built once into a cache)
	$(PROMTOOL) check rules --lint=all --lint-fatal dashboards/rules/routewatch.rules.yaml
	$(PINT) --offline --log-level warn lint --min-severity info --fail-on info dashboards/rules/routewatch.rules.yaml
	$(PROMTOOL) test rules dashboards/rules/test/*.yaml
	$(PROMTOOL) check config deploy/prometheus.yaml

boards: ## check the dashboards by Grafana's own schema and Prometheus' own parser
	cd .ci/tools/dashboards && CGO_ENABLED=0 go run -trimpath . $(CURDIR)/dashboards/*.json

openapi: $(OPENAPI) ## check that the API's document is OpenAPI 3.1 (built once into a cache)
	$(OPENAPI) exporter/internal/api/openapi.json

# IMAGE is its name, as in: make image push IMAGE=registry.example/routewatch:v1.2.3
IMAGE ?= localhost/routewatch:dev
EPOCH := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0)
BUILD_IMAGE = cd deploy/image && go run . -binaries ../../bin -image '$(IMAGE)' -version '$(VERSION)' -revision '$(REVISION)' -epoch $(EPOCH)

image: binaries ## build the container image into bin/image, without a container engine
	rm -rf bin/image
	$(BUILD_IMAGE) -out ../../bin/image

push: binaries ## build the container image and send it to the registry that IMAGE names
	$(BUILD_IMAGE) -push

binaries:
	for arch in amd64 arm64; do for program in exporter:routewatch-exporter cli:routewatch; do \
		GOOS=linux GOARCH=$$arch CGO_ENABLED=0 go build -trimpath -ldflags '-s -w $(LDFLAGS)' \
			-o bin/linux_$$arch/$${program#*:} ./$${program%%:*} || exit 1; \
	done; done

manifests: ## write what is made from deploy/base, deploy/monitoring and dashboards
	go run ./deploy/manifests

fmt: $(LINT) ## format the code
	$(LINT) fmt ./...

clean: ## remove what build made
	rm -rf bin

$(GRAFANA)/built:
	.ci/tools/grafana/build $(GRAFANA)

# Renamed into place, so that an interrupted build leaves no broken tool.
$(TOOLS)/%:
	mkdir -p $(@D)
	cd .ci/tools/$(firstword $(subst -v, ,$*)) && CGO_ENABLED=0 go build -trimpath -o $@.new tool
	mv $@.new $@

$(BROWSER):
	@$(call installed,npm,nodejs npm)
	rm -rf $@.new
	mkdir -p $@.new
	cp .ci/tools/browser/*.json $@.new
	cd $@.new && npm ci --ignore-scripts --no-audit --no-fund
	mv $@.new $@

$(PARTS_DIR)/%:
	deploy/lab/parts/build $(firstword $(subst -v, ,$*)) $@
