# make run: see Weir at work.  make unit: the fast tests.  make test: all tests.  make check: lint, guard and all tests; .ci/run is all that CI runs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run unit test test-compiled lint check bench clean

run: .venv/installed
	$(BIN)/weir demo

# Replicas, a Redis, clients and a service in one process, with random faults: how many times, and from which seed on.
.PHONY: simulation
SEEDS ?= 1000
FIRST ?= 0
simulation: .venv/tested
	$(BIN)/python -m tests.simulation $(SEEDS) $(FIRST)

# What decides, and the gateway on connections in memory: no sockets, no waiting, half a minute.
UNIT := http1 policy contract clients rules limiter net telemetry conformance \
	test_gateway.py test_held_answers.py test_phases.py \
	test_waiting.py test_deciding.py test_settlement.py test_concurrency.py test_paced.py
unit: .venv/tested
	$(BIN)/python -m pytest --memory -n 2 --dist worksteal $(UNIT:%=tests/%)

# Most tests wait for something: more of them run at once than there are cores. Each has ports and files of its own.
# Some measure time, which a machine that is too busy makes long: a few that failed are tried once more, with nothing beside them.
JOBS ?= 6
test: export COVERAGE_PROCESS_START = $(CURDIR)/pyproject.toml
test: .venv/tested programs
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cache-clear || sh tests/alone.sh $$? $(BIN)/python
	$(BIN)/coverage combine -q
	$(BIN)/coverage report || sh tests/missed.sh $(BIN)/python -n $(JOBS)

# The same tests, as far as they can, against Weir compiled ahead of time.
test-compiled: .venv/tested
	@sh tests/programs.sh gcc
	JOBS=$(JOBS) sh tests/compiled.sh $(BIN)/python

# Everything at once for ten minutes: mixed traffic, hostile clients, reloads, Redis and servers that die.
MINUTES ?= 10
.PHONY: soak
soak: .venv/tested programs
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

lint: .venv/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Fails when an exchange has become more than 5 % dearer. ACCEPT=1 keeps today's figures, for the commit to explain.
.PHONY: guard
guard: .venv/tested
	@sh tests/programs.sh gcc valgrind
	$(BIN)/python -m benchmarks.guard $(if $(ACCEPT),--accept)

check: lint guard test

# What an index would serve to this machine: dist/ gets the compiled wheel. Two builds of one commit have one hash.
.PHONY: wheel
wheel: .venv/tested
	@sh tests/programs.sh gcc
	sh deploy/wheel.sh $(BIN)/python

# The wheel in an empty environment, by what a new user types.
.PHONY: tour image pins
tour: wheel
	sh tests/deploy/from_nothing.sh "$$(sh deploy/wheel.sh $(BIN)/python)" $(PYTHON)

# The image, built by buildah and run by crun. Both are Debian's, and it takes root: in CI they must be there.
image: .venv/tested
	@if [ -n "$${CI:-}" ] || [ "$$(id -u)" = 0 ]; then sh tests/programs.sh buildah crun mmdebstrap; \
	elif ! command -v buildah; then echo "### NO IMAGE WAS BUILT: there is no buildah here (apt-get install buildah crun mmdebstrap)" >&2; exit 0; fi; \
	sh tests/deploy/image.sh $(BIN)/python .cache/image && $(BIN)/python -m pytest -s tests/deploy/image_checks.py

# The versions and hashes that images and wheels are built of; UPGRADE=1 takes newer ones.
pins:
	sh deploy/pins.sh $(PYTHON)

# The suite, or what PYTEST names, on every other Python that is here.
.PHONY: test-pythons version docs
test-pythons: programs
	sh tests/pythons.sh $(PYTEST)

version:
	@sh deploy/version.sh "$(VERSION)"

# The site, in site/.
docs: .venv/tested
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: .venv/tested
	$(BIN)/python -m benchmarks --write
	$(BIN)/python -m benchmarks.core

# What the tests start besides Python: installed when we may, named when we may not.
.PHONY: programs
programs:
	@sh tests/programs.sh

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/tested: .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .cache dist site .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
