# Everything a person does with this project. `make` lists it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# One goal after the other: they share the virtual environment and the state in DATA_DIR.
.NOTPARALLEL:

READY := .venv/.ready
# `make setup PYTHON=python3.12` names the Python that .venv is made by, anew if another one made it.
ifeq ($(origin PYTHON),command line)
.PHONY: $(READY)
endif

# Importing Great Expectations without compiled bytecode takes ten seconds more, every time.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export GX_ANALYTICS_ENABLED := False
# Given on the command line (make psql DATA_DIR=.data/demo), it reaches the commands with every $ that is in it.
ifeq ($(origin DATA_DIR),command line)
override export DATA_DIR := $(value DATA_DIR)
endif

.PHONY: help
help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(READY) ## Make .venv, install the locked dependencies and the command moovitamix

# The stamp is written last: after an interruption, the next call goes on.
$(READY): requirements.lock .ci/find-python
	@python=$$(.ci/find-python) || exit 1; \
	version='import sys; print(*sys.version_info[:2])'; \
	if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1 || { [ -n "$$PYTHON" ] && \
		[ "$$(.venv/bin/python -c "$$version")" != "$$("$$python" -c "$$version")" ]; }; then \
		echo "making .venv with $$("$$python" --version)"; \
		"$$python" -m venv --clear .venv || exit 1; \
	fi
	@echo "installing the locked dependencies: a minute or two"
	@.venv/bin/python -m pip install -qq --require-hashes --no-deps --requirement requirements.lock
	@.venv/bin/python -m pip install -qq --no-index --no-deps --no-build-isolation --editable .
	@echo "compiling bytecode"
	@.venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
	@touch $(READY)

.PHONY: demo
demo: $(READY) ## Four days of listening, one of them bad, and recommendations; then weeks in which tastes change
	@.venv/bin/python -m demo
	@.venv/bin/python -m demo.weeks

.PHONY: check
check: $(READY) ## Lint, types, import contracts and unit tests: for while you work
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/unit

.PHONY: test
test: $(READY) ## Lint, types, import contracts, dead code and all tests
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports
	.venv/bin/vulture
	.venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: test-under
test-under: $(READY) ## All tests under another date, zone, locale or load: CONDITION=leap-day; `help` lists them
	.venv/bin/python .ci/run_under.py $(if $(filter help,$(CONDITION)),--help,$(CONDITION))

.PHONY: coverage
coverage: $(READY) ## Unit and integration tests once more, and whether they run as much of the code as they did
	.venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --cov tests/unit tests/integration

.PHONY: up
up: $(READY) ## Start Postgres, the mock and the serving API, Prefect's server and worker, and the deployments
	@.venv/bin/python -m services up

.PHONY: down
down: $(READY) ## Stop all of it; the state stays
	@.venv/bin/python -m services down

.PHONY: status
status: $(READY) ## Say what runs, and where
	@.venv/bin/python -m services status

.PHONY: psql
psql: $(READY) ## Open the database as the read-only analyst role; OWNER=yes as its owner
	@.venv/bin/moovitamix psql $(if $(filter yes,$(OWNER)),--owner)

.PHONY: backup
backup: export BACKUP := $(BACKUP)
backup: $(READY) ## Write database and models to one file (BACKUP=file; default: in DATA_DIR/backups)
	@.venv/bin/python -m services.backup make $${BACKUP:+"$$BACKUP"}

.PHONY: restore
restore: export BACKUP := $(BACKUP)
restore: $(READY) ## Bring both back from BACKUP=file; FORCE=yes replaces what is there
	@.venv/bin/python -m services.backup restore $(if $(filter yes,$(FORCE)),--force) $${BACKUP:+"$$BACKUP"}

.PHONY: verify
verify: export BACKUP := $(BACKUP)
verify: $(READY) ## Restore BACKUP=file aside, compare it with what was backed up, and delete it again
	@.venv/bin/python -m services.backup verify $${BACKUP:+"$$BACKUP"}

.PHONY: bench
bench: $(READY) ## Measure how fast and how big, against bare loops run side by side
	@.venv/bin/python -m benchmarks --write

.PHONY: clean
clean: $(READY) ## Delete the state in DATA_DIR and all caches; refuses while services run
	@.venv/bin/python -m services clean
