# eventfed: what a person or a machine runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
ARGS ?=
MINUTES ?= 10
# The first Python of 3.11 or later; name another with make PYTHON=/path/to/python3.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$name" && break; done)

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo kind-demo kind-down test test-all lint docs format bench soak package platforms constraints clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Three servers, three agents, one NATS; ARGS="--check --json" without a terminal
	@$(BIN)/eventfed demo $(ARGS)

kind-demo: $(READY) ## The same on a Kubernetes cluster made by kind: chart, operator, Asterisk pods; the cluster stays
	@tests/kind/up.sh >&2
	@tests/kind/build-images.sh --load >&2
	@KUBECONFIG=tests/kind/kubeconfig PATH=$(CURDIR)/tests/kind/bin:$$PATH $(BIN)/eventfed demo --cluster $(ARGS)

kind-down: ## Remove the cluster of make kind-demo
	@tests/kind/down.sh

test: $(READY) ## Unit tests, tests on a real nats-server, real Asterisk servers and a kind cluster; ARGS="--suite unit" for one
	@$(BIN)/python -m tests.run $(ARGS)

test-all: $(READY) ## Everything at full length; records the results in docs/failure-modes.md
	@$(BIN)/python -m tests.run --full $(ARGS)

lint: $(READY) ## ruff, mypy strict, import-linter
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(READY) ## The documentation as a site in build/site, without warnings; ARGS="serve" to look at it
	@NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs $(or $(ARGS),build --quiet)

format: $(READY) ## Let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## Benchmarks, one program after the other
	@for program in tests/bench/bench_*.py; do echo "$$program"; $(BIN)/python "$$program" $(ARGS); done

soak: $(READY) ## Three servers left alone, then under load, MINUTES=10 each; ARGS="--help" tells what else
	@$(BIN)/python tests/soak/soak.py --minutes $(MINUTES) $(ARGS)

package: $(READY) ## dist/: wheel, chart, plain manifest, bill of materials, image, checksums; IMAGE=registry.example/eventfed
	@release/package.sh

platforms: $(READY) ## Ask the package index for each package's wheels, and write docs/platforms.md
	@$(BIN)/python release/platforms.py --write

# One that is named is used, also where an environment of another one stands already.
ifeq ($(origin PYTHON),command line)
.PHONY: $(READY)
endif
# A Python of the machine may have been replaced under the environment: one that does not start is made anew.
$(READY): pyproject.toml lab/pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "eventfed needs Python 3.11 or later: install it, or name it with make PYTHON=/path/to/python3" >&2; exit 1; fi
	@wanted=$$($(PYTHON) -c 'import sys; print(sys.version)') || { echo "PYTHON=$(PYTHON) does not run" >&2; exit 1; }; \
	if [ "$$($(BIN)/python -c 'import pip, sys; print(sys.version)' 2>/dev/null)" != "$$wanted" ]; then \
		echo "making the virtual environment $(VENV) with $$($(PYTHON) --version)" >&2; \
		rm -rf $(VENV); \
		$(PYTHON) -m venv $(VENV) >&2 || { rm -rf $(VENV); \
			echo "the module venv does not work: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }; fi
	@echo "installing the packages of constraints.txt into $(VENV)" >&2
	@$(PIP) install --constraint constraints.txt --editable '.[test,nats,operator,docs]' --editable ./lab >&2
	@touch $@

constraints: ## Pin what pyproject.toml asks for at its newest versions
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; \
	"$$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install '.[test,nats,operator,docs]' ./lab; \
	{ echo "# Every package of the runtime, the demo and the tests, pinned. \`make constraints\` writes it anew."; \
	  "$$folder/venv/bin/python" -m pip --disable-pip-version-check freeze | grep -v '^eventfed'; } > constraints.txt

clean: ## Remove what the targets above made, the virtual environment too
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
