# Everything a contributor does, one target each. Nothing needs to exist beforehand: environments
# are made by what needs them, from pyproject.toml, with CPython 3.11 or newer and PyPI.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The Python that makes the environments: `make test PYTHON=/opt/python/bin/python3` names another.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
endif
# How many tests run at a time.
WORKERS ?= 2

BIN := .venv/bin
# Written by the last step of each environment, so that an interrupted one is made anew.
RUNTIME := .venv/.runtime-installed
DEVELOPMENT := .venv/.development-installed
TOOLCHAIN := .venv-protos/.installed
# Clients with an environment of their own, .aws/NAME, of the group aws-NAME in pyproject.toml.
AWS_CLIENTS := cli sdk-v2 sdk-v3 airflow
# What becomes of the tests of a client that has no environment: `fail`, or `skip`.
MISSING_CLIENTS ?= fail
# What is ours and written by hand, as far as it is there.
SOURCES := $(wildcard core/tunesmith_core server/tunesmith_server clients/python/tunesmith \
	tests tools examples benchmarks)
# --group came with pip 25.1; the pip that comes with Python 3.11 is older.
INSTALL := -m pip install --quiet --disable-pip-version-check

.PHONY: help
help: ## Show this list
	@echo "make TARGET, where TARGET is one of"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
		while IFS=$$'\t' read -r target purpose; do printf '  %-12s %s\n' "$$target" "$$purpose"; done

# A name and a server of its own, so that it runs again, and beside a server that runs already. The
# training script's `python3` is that of .venv.
.PHONY: demo
demo: $(RUNTIME) ## Tune a real model on this machine: 24 training jobs, no GPU, no network
	PATH="$(CURDIR)/$(BIN):$$PATH" tunesmith tune examples/digits/job.json --embedded \
		--data-dir .demo --name "digits-$$(date +%y%m%d-%H%M%S)"

.PHONY: test
test: venv protos-env ## Run the tests, except those that take minutes
	$(BIN)/python -m pytest -m "not long and not aws" -n $(WORKERS)

.PHONY: test-long
test-long: venv protos-env ## Run the tests that take minutes
	$(BIN)/python -m pytest -m long -n $(WORKERS)

# No part of `make test`: the clients' environments take 2.5 GB and minutes to make. If one of them
# cannot be made the others are tested all the same, and the run fails: MISSING_CLIENTS=skip lets it pass.
.PHONY: test-aws
test-aws: venv ## Run SageMaker's SDKs, the AWS CLI and Airflow, unmodified, against a server
	@for client in $(AWS_CLIENTS); do $(MAKE) --no-print-directory ".aws/$$client/.installed" || \
		echo "No environment for $$client could be made; its tests: $(MISSING_CLIENTS)." >&2; done
	MISSING_CLIENTS=$(MISSING_CLIENTS) \
		$(BIN)/python -m pytest -m aws -n $(WORKERS) --dist loadfile tests/aws

.PHONY: test-system
test-system: ## Install what tests need beyond pip: nothing, so far
	@echo "No test needs anything beyond what 'make test' installs by pip."

# All checks run, so that one pass shows all that is wrong; the status is that of the worst.
.PHONY: lint
lint: venv ## Check style, types, import floors, protos and spelling
	@status=0; check() { echo "$$*"; "$$@" || status=1; }; \
	check $(BIN)/ruff check .; \
	check $(BIN)/ruff format --check .; \
	check $(BIN)/mypy $(SOURCES); \
	check $(BIN)/lint-imports --no-logo; \
	check $(BIN)/buf lint; \
	check $(BIN)/buf format protos --diff --exit-code; \
	check $(BIN)/codespell; \
	exit $$status

.PHONY: format
format: venv ## Bring code and protos into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format protos --write

.PHONY: protos
protos: protos-env ## Generate the Python code of the protos
	.venv-protos/bin/python tools/generate_protos.py

.PHONY: bench
bench: venv ## Run the benchmarks; see benchmarks/README.md
	@shopt -s nullglob; for benchmark in benchmarks/*.py; do \
		echo "$$benchmark"; $(BIN)/python -m "benchmarks.$$(basename "$$benchmark" .py)"; \
	done

.PHONY: venv
venv: $(DEVELOPMENT) ## Make .venv: the package, editable, and the tools of tests and checks

.PHONY: protos-env
protos-env: $(TOOLCHAIN) ## Make .venv-protos: the pinned generators

.PHONY: clean
clean: ## Remove caches and build output; environments stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .demo
	find core server clients tests tools examples benchmarks -name __pycache__ -prune \
		-exec rm -rf {} + 2>/dev/null || true

# A plain `pip install` leaves what fits as it is, so an environment made by hand is completed.
$(RUNTIME): pyproject.toml
	$(call make_environment,.venv)
	$(BIN)/python $(INSTALL) --editable '.[examples]'
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	$(BIN)/python $(INSTALL) --group test --group lint
	@touch $@

$(TOOLCHAIN): pyproject.toml
	$(call make_environment,.venv-protos)
	.venv-protos/bin/python $(INSTALL) --group protos
	@touch $@

.aws/%/.installed: pyproject.toml
	@mkdir -p .aws
	$(call make_environment,.aws/$*)
	.aws/$*/bin/python $(INSTALL) --group aws-$*
	@touch $@

# $(1): the environment's directory.
define make_environment
	@[ -n '$(PYTHON)' ] || { \
		echo "No CPython 3.11 or newer was found: tried python3.11, python3.12, python3.13, python3." >&2; \
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is no CPython 3.11 or newer: name one, PYTHON=/path/to/python3" >&2; exit 1; }
	@$(1)/bin/python -c '' 2>/dev/null || { echo "making $(1) with $(PYTHON)"; $(PYTHON) -m venv --clear $(1); }
	$(1)/bin/python $(INSTALL) --upgrade 'pip>=25.1'
endef
