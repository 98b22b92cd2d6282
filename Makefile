# The commands of this project. `make run` and `make test` are the two that a
# newcomer needs; both work on a fresh clone with Go and a C compiler present.

GO      ?= go
BIN     := bin/weir
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
TARGETS := linux/amd64 linux/arm64 linux/arm windows/amd64 darwin/arm64 darwin/amd64

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT     := mvdan.cc/gofumpt@v0.12.0

.PHONY: run test build build-all check soak bench deps race unit clean firmware firmware-test firmware-run

build: ## bin/weir, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/weir

run: build ## a node with a simulated fleet; prints what to try next
	$(BIN) serve --demo

deps: ## installs what the tests need (Debian packages; root)
	scripts/install-test-deps

test: deps check build build-all firmware firmware-test unit race ## everything; what .ci/run calls

unit:
	scripts/go-test unit -timeout 15m ./...

race:
	scripts/go-test race -race -short -timeout 20m ./...

check: ## formatting and static analysis
	@test -z "$$(gofmt -l cmd internal)" || { gofmt -l cmd internal; echo 'gofmt: the files above are not formatted'; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@$(GO) run $(GOFUMPT) -l cmd internal | { ! grep .; } || { echo 'gofumpt: the files above are not formatted'; exit 1; }

build-all: ## cross-builds without cgo; fails when a platform does not compile
	@set -e; for t in $(TARGETS); do \
	  echo "build $$t"; \
	  CGO_ENABLED=0 GOARM=7 GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build -trimpath -o /dev/null ./cmd/weir; \
	done

firmware: build ## every port of the firmware that can be built here; bin/weir-lm3s6965.elf is the board's image
	scripts/firmware-tools || { [ "$(CI)" != true ]; exit; }; \
	scripts/fetch-lwip && $(MAKE) --no-print-directory -C firmware/port/lm3s6965 && $(MAKE) --no-print-directory -C firmware/port/cross

firmware-test: ## the firmware's tests on this machine; those on the emulated board are among the unit tests
	scripts/firmware-tools || { [ "$(CI)" != true ]; exit; }; \
	$(MAKE) --no-print-directory -C firmware test && $(MAKE) --no-print-directory -C firmware/fuzz RUNS=20000 SECONDS=5 && $(MAKE) --no-print-directory -C firmware/port/freertos test && scripts/firmware-lint

firmware-run: ## the board's image in the emulator: make firmware-run BROKER=127.0.0.1:1883 CARD=card.img
	scripts/firmware-run $(or $(BROKER),127.0.0.1:1883) $(CARD)

soak: build ## hours rather than minutes: kills, power cuts, fuzzing; SOAK=1h sets how long each fuzz target runs
	scripts/soak $(or $(SOAK),5m)

bench: build ## the report of docs/benchmarks.md
	$(BIN) bench report

clean:
	rm -rf bin
