# make help lists the targets. All of them need Go alone; make test also wants
# Docker, for the tests against real servers.

# Every module of this repository. Each check loops over this list.
MODULES := . servertest servertest/peers bench tools examples/otel

# How many inputs each fuzz target tries. A time, such as 10m, is taken too, but with
# Go before 1.27 it can end in "context deadline exceeded" (golang/go#75804) when
# nothing is wrong.
FUZZTIME ?= 50000x

# The race detector needs a C compiler, but for macOS.
ifneq ($(filter 1,$(shell go env CGO_ENABLED)),)
RACE := -race
else
$(warning no C compiler: tests run WITHOUT the race detector)
endif

TOOL := go tool -modfile=$(CURDIR)/tools/go.mod
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint

# $(call each,COMMAND) runs COMMAND in every module, and fails after the last
# one if any failed.
each = @status=0; for module in $(MODULES); do \
	echo "== $@: module $$module"; \
	(cd "$$module" && $(1)) || status=1; \
	done; exit $$status

# Packages run one after the other, and a few tests of each at once: many wait for
# a TTL to pass, which takes time and no processor, but a busy processor makes them
# late. (On two processors 64 at once took longer than 8.)
.PHONY: test
test: images ## run every test of every module, with the race detector
	$(call each,go test -v $(RACE) -shuffle=on -p 1 -parallel 8 -timeout 25m ./...)

.PHONY: images
images: ## get or build the servers' images, once
	@if docker version >/dev/null 2>&1 || test "$$CI" = true; \
	then go -C servertest run ./cmd/images; \
	else echo "NO DOCKER: the tests against real servers will be SKIPPED"; fi

.PHONY: lint
lint: fmt vet tidy golangci vuln ## run every check that is not a test

.PHONY: fmt
fmt: ## fail if a file is not as gofmt writes it
	@files=$$(gofmt -l .); test -z "$$files" || { echo "not formatted, run gofmt -w:"; echo "$$files"; exit 1; }

.PHONY: vet
vet: ## go vet for every module, and for the root on the other systems
	$(call each,go vet ./...)
	GOOS=darwin go vet ./...
	GOOS=windows go vet ./...

.PHONY: tidy
tidy: ## fail if a go.mod or go.sum is not tidy
	$(call each,go mod tidy -diff)

.PHONY: golangci
golangci: ## run the linters of .golangci.yml
	$(call each,$(TOOL) golangci-lint run ./...)

.PHONY: vuln
vuln: ## fail if a module calls a function with a known vulnerability
	cd tools && go run ./vulncheck $(MODULES:%=../%)

.PHONY: faults
faults: images ## run the stores under faults for 25 minutes; writes docs/faults.md and the README's table of it
	rm -rf out/faults
	@status=0; export LOCKER_FAULTS=1 LOCKER_FAULTS_DIR=$(CURDIR)/out/faults; \
	for package in stress peers; do \
		(cd servertest/$$package && go test -v -count=1 -parallel 6 -timeout 60m \
			-run '^Test(Stress|Clusters|Trials|Mutants|Peers)$$' .) || status=1; \
	done; \
	write="go run ./cmd/faults -dir $(CURDIR)/out/faults -commit $$(git describe --always --dirty 2>/dev/null || echo unknown)"; \
	cd servertest; \
	if test $$status = 0 && test -z "$(STORE)$(FAULT)$(SEED)$(TIME)"; \
	then $$write -readme $(CURDIR)/README.md $(CURDIR)/docs/faults.md || status=1; \
	else $$write $(CURDIR)/out/faults/faults.md || status=1; echo "see out/faults/faults.md"; fi; \
	exit $$status

.PHONY: fuzz
fuzz: ## run each fuzz target on FUZZTIME (50000x) inputs
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | \
	sed -E 's,/[^/]+:[0-9]+:func , ,' | sort | \
	while read -r dir target; do \
		echo "== $$dir $$target"; \
		(cd "$$dir" && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) . </dev/null) || exit 1; \
	done

.PHONY: bench
bench: images ## measure every store, or STORE, beside other libraries, for TIME (3m) each; writes docs/benchmarks
	cd bench && LOCKER_BENCH=1 go test -count=1 -timeout 2h -run '^TestSideBySide$$' # without a package it shows progress

.PHONY: microbench
microbench: ## run the benchmarks of the root module
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: guarantees
guarantees: ## run the conformance suites and write the README's table from their results
	rm -rf out/conformance
	$(call each,LOCKER_CONFORMANCE_DIR=$(CURDIR)/out/conformance go test -count=1 -run '^TestConformance$$' ./...)
	go run ./internal/guarantees -dir out/conformance README.md

.PHONY: api
api: ## write the golden files of the public API anew
	go test -run '^TestAPI$$' . -update

.PHONY: man
man: ## write the command's manual page to out/locker.1
	@mkdir -p out
	go run ./cmd/locker man >out/locker.1

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || \
	sed -nE 's/^([a-z]+):.*## (.*)/  make \1  \2/p' $(MAKEFILE_LIST)
