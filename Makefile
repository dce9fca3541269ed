# bgexp: everything from a fresh machine with nothing but Python (>= 3.11) and make.
PYTHON ?= python3
RUNS ?= runs
ARGS ?=
SECONDS ?= 600
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test test-bench test-cluster test-faults test-defences test-mutants fuzz cluster-setup check format lock docs bench bench-batch bench-gpu bench-docs profile ui doctor clean

help:  ## show this text
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 24

setup: $(INSTALLED)  ## create .venv with the locked packages and bgexp

$(INSTALLED): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bgexp needs Python 3.11 or later")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes \
		requirements.txt  # compiled once, not at each start
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

run: $(INSTALLED)  ## sweep the sample images: two score thresholds, with and without refinement (RUNS=, ARGS=)
	$(BIN)/bgexp run experiment=first_sweep runs_dir=$(RUNS) $(ARGS)

# One thread a process: two tests at once whose threads wait for each other take many times as long.
# Compiled modules are kept, whatever is set: else each process that a test starts compiles them anew.
# A test that ends its process ends the run: with another in its place, pytest-xdist waits for ever.
test: $(INSTALLED)  ## run the tests, two at a time (ARGS=)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile \
		--no-loadscope-reorder --max-worker-restart 0 $(ARGS)

test-bench: $(INSTALLED)  # test the benchmark, for minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m bench tests/bench

# What PostgreSQL and Slurm need of a Debian or Ubuntu; everything else comes with `make setup`.
CLUSTER_PACKAGES := postgresql slurm-wlm munge

cluster-setup: $(INSTALLED)  ## install PostgreSQL and Slurm, which `make test-cluster` starts; as root
	@test $$(id -u) = 0 || { echo "apt-get install $(CLUSTER_PACKAGES): needs root (sudo make cluster-setup)"; exit 2; }
	apt-get update --quiet --quiet
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $(CLUSTER_PACKAGES)

test-cluster: $(INSTALLED)  ## test with real PostgreSQL, MLflow, S3-like store and Slurm, 15 minutes (ARGS=)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster tests/cluster $(ARGS)

test-faults: $(INSTALLED)  ## let workers die and hang, kill, cut the power, let each call on files fail: 30 minutes (ARGS=)
	$(BIN)/python -m tests.faults.pool_schedules
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.kills
	$(BIN)/python -m tests.faults.run --jobs 2 $(ARGS)

test-defences: $(INSTALLED)  ## take out each defence, and see the test of its attack fail (ARGS=markup)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.defences $(ARGS)

test-mutants: $(INSTALLED)  ## change the code that must not be wrong, and see the tests fail: hours (ARGS="bgexp.batch.journal*")
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2 $(ARGS)

fuzz: $(INSTALLED)  ## give changed files of each kind to what reads them (SECONDS=600 for each)
	$(BIN)/python -m tests.faults.fuzz --seconds $(SECONDS)

check: $(INSTALLED)  ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)  ## format the code and apply the linter's fixes
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: $(INSTALLED)  ## write requirements.txt from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --upgrade --extra dev --no-annotate \
		--custom-compile-command "make lock" pyproject.toml --output-file requirements.txt

docs: $(INSTALLED)  ## write docs/api.md from the docstrings, and the flags in docs/batch.md
	$(BIN)/python docs/api/build.py
	$(BIN)/python docs/api/flags.py

bench: $(INSTALLED)  ## measure stages, and whole runs beside a naive script, into runs/bench: 22 minutes
	$(BIN)/python -m tests.bench.run $(RUNS)/bench
	$(BIN)/python -m pytest tests/bench/bench_stages.py --benchmark-only --benchmark-sort=fullname \
		--benchmark-columns=median,min,max,rounds --benchmark-json=$(RUNS)/bench/stages.json

bench-batch: $(INSTALLED)  # add whole batches to what `make bench` measured: 45 minutes beside other work
	$(BIN)/python -m tests.bench.batch $(RUNS)/bench

bench-gpu: $(INSTALLED)  # measure whole batches on a GPU, into runs/bench
	$(BIN)/python -m tests.bench.gpu $(RUNS)/bench

bench-docs: $(INSTALLED)  # put what `make bench` measured last into docs/benchmark.md
	$(BIN)/python -m tests.bench.present $(RUNS)/bench

profile: $(INSTALLED)  ## draw flame graphs of a batch over the sample, into runs/profile: Python, then native code (ARGS=)
	rm -rf $(RUNS)/profile && mkdir -p $(RUNS)/profile
	for graph in python native; do \
		$(BIN)/py-spy record --subprocesses $$([ $$graph = native ] && echo --native --rate 50) \
			--output $(RUNS)/profile/$$graph.svg -- $(BIN)/bgexp batch input=bgexp/sample/images \
			output=$(RUNS)/profile/$$graph runs_dir=$(RUNS)/profile/runs workers=1 $(ARGS) || exit 1; \
	done

ui: $(INSTALLED)  ## serve the tracking UI (RUNS=)
	$(BIN)/bgexp ui runs_dir=$(RUNS)

doctor: $(INSTALLED)  ## say what this machine has and lacks
	$(BIN)/bgexp doctor

clean:  ## remove .venv and caches; runs/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
