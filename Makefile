# `make` lists the targets. Everything below .venv is made by the first of them that needs it.
.DEFAULT_GOAL := help
.PHONY: help setup demo build up down server server-status server-stop \
	test test-fast test-thorough test-cluster faults lint train evaluate \
	score report export freshness docs status sbom simulate \
	calibrate bench-build bench-growth bench-incremental bench-daily bench-duckdb bench-server bench-model bench-logs \
	bench-targets bench-shuffles \
	emr-deploy emr-run emr-destroy rehearse-emr lock clean
SHELL := /bin/sh

# The environment's own programs come first, its java among them. A JAVA_HOME or SPARK_HOME of the
# shell would lead Spark elsewhere; set-up alone sees the shell's own path, to choose Python.
SHELL_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYSPARK_PYTHON := $(CURDIR)/.venv/bin/python
unexport SPARK_HOME PYTHONHOME PYTHONPATH VIRTUAL_ENV
READY := .venv/.ready
READY_DEV := .venv/.ready-dev
unexport JAVA_HOME

RAW ?=
ARGS ?=

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY_DEV) ## Make .venv with all: packages, Java, jars (PYTHON=<path> chooses the Python)
	@echo 'Next: make demo, or: . .venv/bin/activate && dbt build'

# What builds, the model and the report need; then what lint, tests and EMR need besides.
SETUP = PATH='$(SHELL_PATH)' PYTHON='$(PYTHON)' sh tools/setup.sh
$(READY): requirements.txt requirements-uv.txt tools/preflight.sh tools/setup.sh \
		tools/install_packages.py tools/setup_environment.py tools/jars.txt tools/log4j2.properties
	@$(SETUP)
$(READY_DEV): requirements-dev.txt $(READY)
	@$(SETUP) dev

demo: $(READY) ## From raw logs to churn scores, in demo/ (RAW=<folder of logs>; else simulated)
	@python -m tools.demo $(if $(findstring command,$(origin RAW))$(RAW),--raw "$$RAW") $(ARGS)

build: $(READY) ## Build, test and publish all tables (ARGS='--select ...')
	@dbt build $(ARGS)

up: $(READY) ## Start the engine: one warm Spark for all commands (ARGS='--help')
	@python -m warehouse up $(ARGS)

down: $(READY) ## End the engine
	@python -m warehouse down

server: $(READY) ## Serve the tables, read-only: Thrift/JDBC and Spark Connect (ARGS='--help')
	@python -m server start $(ARGS)

server-status: $(READY) ## Does the server run and answer, and where
	@python -m server status

server-stop: $(READY) ## End the server
	@python -m server stop

test: $(READY_DEV) ## Run the test suite (ARGS='-k publish')
	@pytest $(ARGS)

test-fast: $(READY_DEV) ## The tests that need no Spark, in a minute
	@pytest -m 'not spark and not cluster and not thorough' $(ARGS)

test-thorough: $(READY_DEV) ## Builds day by day, in random parts, killed, through a server, on another engine
	@pytest -m thorough $(ARGS)

test-cluster: $(READY_DEV) ## EMR's steps on a cluster of processes that loses workers and files; compared
	@pytest -s -n 0 -m cluster $(ARGS)

faults: $(READY_DEV) ## Kill 30 builds at random moments, then fill the disk, and more (some 35 minutes)
	@CHURN_FAULTS=30 pytest -s -n 0 -m thorough tests/test_faults.py $(ARGS)

lint: $(READY_DEV) ## Check style, descriptions, contracts and grain tests
	@sh tools/lint.sh $(ARGS)

train: $(READY) ## Train the churn model on what is published
	@python -m ml train $(ARGS)

evaluate: $(READY) ## Print the model's figures on users and days after the training
	@python -m ml evaluate $(ARGS)

score: $(READY) ## Score the users of the latest day
	@python -m ml score $(ARGS)

report: $(READY) ## Write target/report.html from what is published (ARGS='--out <file>')
	@python -m report $(ARGS)

export: $(READY) ## Write the published marts as Parquet files (ARGS='--out <folder>'; --help)
	@python -m warehouse export $(ARGS)

freshness: $(READY) ## Is the landing folder up to date?
	@dbt source freshness $(ARGS)

docs: $(READY) ## Write dbt's docs of all tables in one file, target/static_index.html
	@python -m tools.docs $(ARGS)

status: $(READY) ## What is published, and since when; who is at work
	@python -m warehouse status $(ARGS)

sbom: $(READY_DEV) ## List what set-up installs, target/sbom.json (CycloneDX)
	@python -m tools.sbom $(ARGS)

simulate: $(READY) ## Write made-up logs (ARGS='--users 230 --start ... --out <folder>'; --help)
	@python -m simulator $(ARGS)

calibrate: $(READY) ## Simulated figures beside the real ones
	@python -m simulator.calibration $(ARGS)

bench-build: $(READY) ## Time and memory of a full build, and its slowest nodes
	@python -m benchmarks.build_time $(ARGS)

bench-growth: $(READY) ## Builds of 0.1 to 2.5 GB, simulated: exponent, memory, disk (ARGS='--help')
	@python -m benchmarks.growth $(ARGS)

bench-incremental: $(READY) ## One more day on top of a log: time and events read (ARGS='--raw <folder>')
	@python -m benchmarks.one_more_day $(ARGS)

bench-daily: $(READY) ## 62 daily loads: does a day cost the same at the end? (ARGS='--days 62')
	@python -m benchmarks.daily_loads $(ARGS)

bench-duckdb: $(READY_DEV) ## The same tables with DuckDB: rows compared, both timed
	@python -m benchmarks.compare_duckdb $(ARGS)

bench-targets: $(READY_DEV) ## The same tables by plain Spark and by Comet, compared (ARGS='--gigabytes 12')
	@python -m benchmarks.compare_targets $(ARGS)

bench-shuffles: $(READY) ## Rows and bytes that each model shuffles, slowest stages (ARGS='--raw <folder>')
	@python -m benchmarks.shuffles $(ARGS)

bench-model: $(READY) ## Training on 100,000 rows and scoring a million users: time and memory
	@python -m benchmarks.model_scale $(ARGS)

bench-logs: $(READY) ## The model and xgboost on four logs that differ (ARGS='--raw <folder>')
	@python -m benchmarks.other_logs $(ARGS)

bench-server: $(READY) ## 20 clients on the SQL server while a build publishes (ARGS='--raw <folder>')
	@python -m benchmarks.server_load $(ARGS)

emr-deploy: $(READY_DEV) ## Make the stack on AWS, and put the packed project there (ARGS=--dry-run; --help)
	@python -m deploy.emr deploy $(ARGS)

emr-run: $(READY_DEV) ## Build, train, score and report on EMR (ARGS='--raw <folder>'; --dry-run)
	@python -m deploy.emr run $(ARGS)

emr-destroy: $(READY_DEV) ## Delete the stack; the data stays (ARGS=--with-data; --dry-run)
	@python -m deploy.emr destroy $(ARGS)

rehearse-emr: $(READY_DEV) ## The build of EMR on a cluster of processes here, S3 and Glue by moto; compared
	@python -m deploy.emr.rehearse $(ARGS)

LOCK := uv pip compile --no-python-downloads --generate-hashes --no-header
lock: $(READY) ## Write all requirements*.txt, of pyproject.toml and of deploy and examples
	@$(LOCK) --universal --python-version 3.10 --no-strip-extras --extra report pyproject.toml \
		-o requirements.txt
	@$(LOCK) --universal --python-version 3.10 --no-strip-extras --all-extras pyproject.toml \
		--constraint requirements.txt -o requirements-dev.txt
	@echo uv | $(LOCK) --universal --python-version 3.10 --no-strip-extras - -o requirements-uv.txt
	@$(LOCK) --python-platform x86_64-manylinux_2_28 --python-version 3.11 \
		--constraint requirements.txt deploy/emr/requirements.in -o deploy/emr/requirements.txt
	@set -e; for folder in examples/airflow examples/dagster examples/openlineage; do \
		uv pip compile --no-python-downloads --no-header --no-annotate --universal --python-version 3.10 \
			$$folder/requirements.in -o $$folder/requirements.txt; done

clean: ## Remove build output (target, logs, caches, demo); keeps .venv and the tables
	rm -rf target logs demo .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
