# The commands for people. `make` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Goals run one after the other, because they share the virtual environment and DATA_DIR.
.NOTPARALLEL:

READY := .venv/.ready
# `make setup PYTHON=python3.12` creates .venv with that Python, and replaces one of another Python.
ifeq ($(origin PYTHON),command line)
.PHONY: $(READY)
endif

# Without compiled bytecode, each import of Great Expectations takes ten seconds longer.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export GX_ANALYTICS_ENABLED := False
# A value from the command line (make psql DATA_DIR=.data/demo) reaches the commands unchanged, even with a $.
ifeq ($(origin DATA_DIR),command line)
override export DATA_DIR := $(value DATA_DIR)
endif

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: $(READY) ## Create .venv, and install the locked dependencies and the command moovitamix

# This file is created last, so that the next call continues after an interruption.
$(READY): requirements.lock .ci/find-python
	@python=$$(.ci/find-python) || exit 1; \
	version='import sys; print(*sys.version_info[:2])'; \
	if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1 || { [ -n "$$PYTHON" ] && \
		[ "$$(.venv/bin/python -c "$$version")" != "$$("$$python" -c "$$version")" ]; }; then \
		echo "creating .venv with $$("$$python" --version)"; \
		"$$python" -m venv --clear .venv || exit 1; \
	fi
	@echo "installing the locked dependencies: a minute or two"
	@.venv/bin/python -m pip install -qq --require-hashes --no-deps --requirement requirements.lock
	@.venv/bin/python -m pip install -qq --no-index --no-deps --no-build-isolation --editable .
	@echo "compiling bytecode"
	@.venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
	@touch $(READY)

.PHONY: demo
demo: $(READY) ## Run four days with one bad batch, and recommendations; then weeks in which tastes change
	@.venv/bin/python -m demo
	@.venv/bin/python -m demo.weeks

.PHONY: demo-up
demo-up: $(READY) ## Open the state that `make demo` left: console, Data Docs and Prefect, at the time of its last day
	@.venv/bin/python -m demo.services

.PHONY: cluster-demo
cluster-demo: $(READY) ## Run the four days on a cluster without a shared folder; the recommendations must be identical
	@.venv/bin/python -m demo.cluster

.PHONY: containers
containers: $(READY) ## Build the image, and run the four days in the containers of docker-compose.yml; ENGINE=debian without Docker
	@$(if $(filter debian,$(ENGINE)),.venv/bin/python .ci/debian_engine.py /var/tmp/moovitamix-containers )\
	.venv/bin/python -m demo.composition

.PHONY: check
check: $(READY) ## Check lint, types and import contracts, and run the unit tests: for use while you work
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/unit

.PHONY: test
test: $(READY) ## Check lint, types, import contracts and dead code, and run all tests
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports
	.venv/bin/vulture
	.venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: test-under
test-under: $(READY) ## Run all tests under another date, zone, locale or load: CONDITION=leap-day; `help` lists them
	.venv/bin/python .ci/run_under.py $(if $(filter help,$(CONDITION)),--help,$(CONDITION))

.PHONY: clients
clients: $(READY) .clients/.ready ## Lint the OpenAPI document; generate, check and run clients in TypeScript and Python (needs Node.js 20)
	.venv/bin/python -m pytest tests/integration/serving/test_generated_clients.py

.clients/.ready: .ci/clients/package-lock.json .ci/clients/requirements.lock
	@rm -rf .clients && mkdir .clients && cp .ci/clients/package.json .ci/clients/package-lock.json .clients
	@echo "installing the generators: a minute or two"
	@cd .clients && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	@.venv/bin/python -m venv .clients/venv
	@.clients/venv/bin/python -m pip install -qq --require-hashes --no-deps --requirement .ci/clients/requirements.lock
	@touch .clients/.ready

.PHONY: coverage
coverage: $(READY) ## Run unit and integration tests, and fail if their coverage is below the limit
	.venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --cov tests/unit tests/integration

.PHONY: up
up: $(READY) ## Start the local services (make status lists them), and apply the deployments
	@.venv/bin/python -m services up

.PHONY: down
down: $(READY) ## Stop all services; the data stay
	@.venv/bin/python -m services down

.PHONY: status
status: $(READY) ## Show the state of each service
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
restore: $(READY) ## Restore database and models from BACKUP=file; FORCE=yes replaces what the database holds
	@.venv/bin/python -m services.backup restore $(if $(filter yes,$(FORCE)),--force) $${BACKUP:+"$$BACKUP"}

.PHONY: verify
verify: export BACKUP := $(BACKUP)
verify: $(READY) ## Restore BACKUP=file into a temporary server, compare the content, and delete the server
	@.venv/bin/python -m services.backup verify $${BACKUP:+"$$BACKUP"}

.PHONY: bench
bench: $(READY) ## Measure time and memory, compared with reference implementations; ONLY="fetch stage" selects parts
	@.venv/bin/python -m benchmarks $(if $(ONLY),--only $(ONLY),--write)

.PHONY: peers
peers: .venv-peers/.ready ## Install the libraries that `python -m benchmarks.peers` compares with; LightFM needs a C compiler

.venv-peers/.ready: benchmarks/peers.lock $(READY)
	.venv/bin/python -m venv --clear .venv-peers
	.venv-peers/bin/python -m pip install -qq --require-hashes --no-deps --requirement benchmarks/peers.lock
	@touch $@

.PHONY: clean
clean: $(READY) ## Delete the data in DATA_DIR and all caches; refuses while services run
	@.venv/bin/python -m services clean
