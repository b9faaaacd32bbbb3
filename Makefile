# Needs make and Python 3.11, 3.12 or 3.13. Every target makes the environment it needs in .venv by itself.
#
#   make demo PYTHON=/path/to/python3.12     choose the interpreter of a new environment
#   make flow-data SESSIONS=2026-01-05..2026-01-09
#   make flow-alpha PROFILE=hrp SESSION=2026-01-09

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
HOST ?= 127.0.0.1
PORT ?= 3000
JOBS ?= 2
BENCH ?=
TESTS ?=

# Whole scenarios, up to a minute each; CI runs them in a step of their own.
T := quant_assets_tests
LONG := $(T)/e2e $(T)/chaos $(T)/mutations \
        $(T)/assets/test_automation.py $(T)/assets/test_live.py $(T)/assets/test_bad_sessions.py \
        $(T)/contract/test_ib_async.py $(T)/contract/test_verify_elsewhere.py $(T)/contract/test_shipped_faults.py \
        $(T)/contract/test_console.py $(T)/unit/flows/test_returning.py

# What pip has to agree with; a change of either file installs again.
PINS := pyproject.toml constraints.txt
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt -e

# One data directory, one lakehouse, one Dagster history; a path may contain spaces.
DATA := $(or $(QUANT_DATA),data)
SPACE := $(subst ,, )
STATE := $(subst $(SPACE),\ ,$(DATA))/.dagster/initialised
SPAN := $(if $(SESSION),--session $(SESSION)) $(if $(SESSIONS),--sessions $(SESSIONS))

##@ Start here

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  \033[36m%-16s\033[0m %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '\nSESSION=YYYY-MM-DD, SESSIONS=A..B and PROFILE=name narrow the flows; QUANT_DATA moves the data, and Dagster'\''s history with it.\n'

.PHONY: setup
setup: $(VENV)/.run $(STATE) ## make the environment and the Dagster instance
	@echo "ready: $(BIN)/quant --help"

.PHONY: demo
demo: setup-quietly ## run everything once on the synthetic market and show the weights
	@$(BIN)/quant demo

.PHONY: test
test: $(VENV)/.test ## run the tests (TESTS="path or options" narrows them, JOBS=1 runs them one by one)
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(or $(TESTS),$(LONG:%=--ignore %) --ignore $(T)/browser)

.PHONY: test-long
test-long: $(VENV)/.test ## whole scenarios: end to end, kills, planted faults, other client library and Pythons
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(LONG)

.PHONY: test-browser
test-browser: $(VENV)/.test ## open the UI and the report in headless Chromium and look at them
	@$(BIN)/python -m pytest -q quant_assets_tests/browser

.PHONY: ui
ui: setup-quietly ## open Dagster's UI on http://127.0.0.1:3000, and let its automation work
	@echo "lineage: http://$(HOST):$(PORT)/asset-groups   (Ctrl-C stops it)"
	@echo "its sensors and schedules work by themselves: they fetch what is missing and make portfolios; see Automation"
	@PYTHONWARNINGS="ignore:Function" $(BIN)/dagster dev --host $(HOST) --port $(PORT) --workspace workspace.yaml --log-level warning

##@ Cycles

.PHONY: flow-data
flow-data: setup-quietly ## data cycle: discovery, ingestion, quality, features, candidates
	@$(BIN)/quant flow data $(SPAN)

.PHONY: flow-alpha
flow-alpha: setup-quietly ## alpha cycle of PROFILE: snapshot, returns, weights, report; no network
	@$(BIN)/quant flow alpha $(SPAN) $(if $(PROFILE),--profile $(PROFILE))

.PHONY: flow-production
flow-production: setup-quietly ## alpha cycle of the production profile; needs flow-data before it
	@$(BIN)/quant flow production $(SPAN)

.PHONY: flow-all
flow-all: setup-quietly ## flow-data, then flow-production
	@$(BIN)/quant flow all $(SPAN)

##@ Care of the data

.PHONY: data-repair
data-repair: setup-quietly ## fetch and build the sessions that are missing (SESSIONS=A..B narrows)
	@$(BIN)/quant repair $(if $(SESSIONS),--sessions $(SESSIONS))

.PHONY: data-audit
data-audit: setup-quietly ## look for damage, gaps, drift from certificates, orphan files, and what is new in quarantine
	@$(BIN)/quant audit data

##@ Work on the code

.PHONY: check
check: $(VENV)/.dev docs-check ## lint, format, types, import contracts, definitions
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/dagster definitions validate -m quant_assets.definitions --log-level error
	@echo "check: all clean"

.PHONY: chaos
chaos: $(VENV)/.test ## random outages and kills, SEEDS=200 fresh schedules; a failing one prints its command
	@CHAOS_SEED=$(or $(CHAOS_SEED),fresh) $(BIN)/python -m pytest -q -n $(JOBS) quant_assets_tests/chaos/test_outages.py --chaos-seeds $(or $(SEEDS),25)

.PHONY: docs-check
docs-check: $(VENV)/.run ## fail when docs/tables.md differs from the table declarations
	@$(BIN)/python tools/generate_docs.py --check

.PHONY: docs
docs: $(VENV)/.run ## write docs/tables.md from the table declarations
	@$(BIN)/python tools/generate_docs.py

.PHONY: bench
bench: $(VENV)/.run ## print measured ratios beside the numbers to hold (BENCH=--small is quick)
	@$(BIN)/python benchmarks/run.py $(BENCH)

.PHONY: bench-ingest
bench-ingest: $(VENV)/.run ## the ingestion against the bare client library, and its memory (BENCH=--small is quick)
	@$(BIN)/python benchmarks/ingest.py $(BENCH)

.PHONY: bench-lake
bench-lake: $(VENV)/.run ## reads and writes of the lakehouse beside ArcticDB and bare Parquet (BENCH=--small is quick)
	@$(BIN)/python benchmarks/lake.py $(BENCH)

.PHONY: constraints
constraints: $(VENV)/.dev ## write constraints.txt from the environment
	@$(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools > constraints.txt

##@ Clean up

.PHONY: clean
clean: ## remove caches and build leftovers
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	@find quant_assets quant_assets_tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: clean-env
clean-env: ## remove the environment; the next target makes it again
	@rm -rf $(VENV)

# Named one by one: QUANT_DATA may be a directory that other things live in.
OURS := lakehouse aside artifacts export .dagster
.PHONY: clean-data
clean-data: ## remove lakehouse, runs and history of QUANT_DATA (else data/), bars included; asks for CONFIRM=yes
	@test "$(CONFIRM)" = yes || { echo "this removes the lakehouse, all runs and Dagster's history in $(DATA): make clean-data CONFIRM=yes" >&2; exit 2; }
	@find "$(DATA)" -mindepth 1 -maxdepth 1 \( $(OURS:%=-name % -o) -false \) -exec chmod -R u+w {} + -exec rm -rf {} +

# ---------------------------------------------------------------- how the environment comes to be

.PHONY: setup-quietly
setup-quietly: $(VENV)/.run $(STATE)

# The first interpreter that really starts, is of a version that we test, and can make environments. A name on PATH
# proves nothing: version managers put stubs there that only print an error.
$(BIN)/python:
	@chosen=""; found=""; \
	for one in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
	  version=$$("$$one" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  found="$$found $$one=$$version"; \
	  case $$version in 3.11|3.12|3.13) \
	    if "$$one" -c 'import ensurepip, venv' 2>/dev/null; then chosen=$$one; break; \
	    else found="$$found(without-venv)"; fi;; esac; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "quant_assets needs Python 3.11, 3.12 or 3.13 with its venv module; found:$${found:- none}." >&2; \
	  echo "Install one (Debian: apt install python3 python3-venv) or name it: make demo PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "making $(VENV) with $$chosen"; \
	"$$chosen" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# One stamp per set of extras, each containing the one above it.
$(VENV)/.run: $(BIN)/python $(PINS)
	@echo "installing quant_assets (once; some minutes on a slow network)"
	@$(INSTALL) .
	@touch $@

$(VENV)/.test: $(BIN)/python $(PINS)
	@echo "installing quant_assets with its test tools (once)"
	@$(INSTALL) '.[test,browser]'
	@touch $(VENV)/.run $@

$(VENV)/.dev: $(BIN)/python $(PINS)
	@echo "installing quant_assets with its test and development tools (once)"
	@$(INSTALL) '.[test,browser,dev]'
	@touch $(VENV)/.run $(VENV)/.test $@

# Two processes that meet a fresh instance at once corrupt it, so it is made here, by one.
$(STATE): | $(VENV)/.run
	@mkdir -p "$(DATA)/.dagster"
	@$(BIN)/python -c "from quant_assets.registry import open_instance; open_instance().__enter__()"
	@touch "$(DATA)/.dagster/initialised"
