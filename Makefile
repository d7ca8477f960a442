# What one does with this tree; `make help` lists it. Each target brings .venv up
# to date first (scripts/venv), which costs no network when nothing has changed.

PYTHON ?= python3
CONFIG ?= conf/l7mp-minimal.yaml
# more for pytest, for example: make test TESTS=tests/wire ARGS='-x -k json'
TESTS ?=
ARGS ?=
# for make fuzz: how long each target has, and which targets
SECONDS ?= 60
TARGETS ?=

BIN := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help run test fuzz lint format matrix bench reference wheel clean dev

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start the proxy in the foreground on $(CONFIG); stop it with Ctrl-C
	@scripts/venv http2 tls
	@exec $(BIN)/l7mp -c $(CONFIG)

test: ## all tests, with the coverage gates; or some, with TESTS= and ARGS=
	@scripts/system-packages
	@scripts/node-packages
	@scripts/venv http2 tls test
	@scripts/test $(TESTS) $(ARGS)

fuzz: ## fuzz the readers of strangers' bytes; for SECONDS= each, or some with TARGETS=
	@scripts/venv http2 tls test fuzz
	@scripts/fuzz $(SECONDS) $(TARGETS)

lint: ## ruff, mypy and import-linter; changes nothing
	@scripts/venv http2 tls test lint
	@scripts/lint

format: ## let ruff mend what it can
	@scripts/venv http2 tls test lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: ## measurements against other proxies
	@scripts/venv
	@bench/run

matrix: ## prove every listener with every cluster, and write docs/matrix.md
	@scripts/system-packages
	@scripts/venv http2 tls test
	@L7MP_MATRIX=1000 $(BIN)/python -m pytest --timeout 600 tests/conformance/test_matrix.py

reference: ## write docs/configuration.rst anew from the models
	@scripts/venv
	@$(BIN)/python scripts/make_reference.py

wheel: ## build a wheel into dist/
	@scripts/venv http2 tls test
	@scripts/wheel dist

dev: ## everything a developer wants in .venv
	@scripts/venv dev

clean: ## remove all that was made here, .venv included
	rm -rf .venv .tox build dist *.egg-info htmlcov .coverage .coverage.*
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -f twisted/plugins/dropin.cache twistd.pid twistd.log
	find l7mp tests twisted bench scripts docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
