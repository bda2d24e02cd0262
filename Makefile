# Two commands do all the set-up: `make up` and `make test`. `make help` lists the rest.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECT ?= examples/flights
UP_FLAGS ?=
PYTEST_FLAGS ?=
# Nothing that a developer's shell sets may leak into the tests.
unexport HEADWATER_HOME HEADWATER_PROJECT

.DEFAULT_GOAL := help
.PHONY: help setup up test check format lint types arch docs bench requirements clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2} /^##@ / {printf "\n%s\n", substr($$0, 5)}' $(MAKEFILE_LIST)

##@ Use
up: $(VENV)/.run ## Set up and start everything with the flights example, in the foreground
	@exec $(BIN)/headwater up --project $(PROJECT) $(UP_FLAGS)

setup: $(VENV)/.dev ## Create the virtual environment with everything that development needs

##@ Test and check
# Two files at a time, each with a home, ports and processes of its own; what measures time comes after, by itself.
test: $(VENV)/.dev check ## Run every check and test, the servers' and the browser's included
	@sh tools/system_packages.sh
	@status=0; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone" $(PYTEST_FLAGS) || status=$$?; \
	$(BIN)/python -m pytest -m alone $(PYTEST_FLAGS) || status=$$?; \
	exit $$status

check: lint types arch docs ## Format, lint, types, import rules and generated docs, without changing a file

format: $(VENV)/.dev ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## Formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## Types, strictly, of source and tests
	$(BIN)/mypy

arch: $(VENV)/.dev ## Who may import whom
	$(BIN)/lint-imports

docs: $(VENV)/.dev ## Check that the generated reference is what the code says
	$(BIN)/python tools/reference.py --check

reference: $(VENV)/.dev ## Write the generated reference
	$(BIN)/python tools/reference.py

##@ Measure
bench: $(VENV)/.dev ## Run the benchmarks side by side with their peers (about half an hour)
	$(BIN)/python bench/run.py

##@ Upkeep
requirements: ## Compile the pinned, hashed requirements again (needs uv)
	uv pip compile pyproject.toml --extra flights --extra models --extra ray --extra postgres --group dev --group bench --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements/dev.txt
	uv pip compile pyproject.toml --extra flights --group build --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements/dev.txt -o requirements/run.txt

clean: ## Remove the virtual environment, caches and the local home (all local data)
	rm -rf $(VENV) .headwater .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what it was made from, so an unchanged set-up costs nothing and asks no network.
$(VENV)/.python:
	@PYTHON="$(PYTHON)" sh tools/make_venv.sh $(VENV)
	@touch $@

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/.python
	@test -e $(VENV)/.dev || PYTHON="$(PYTHON)" sh tools/install.sh $(VENV) requirements/run.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/.python
	@PYTHON="$(PYTHON)" sh tools/install.sh $(VENV) requirements/dev.txt
	@touch $@ $(VENV)/.run
