# Two commands for everybody (`make demo`, `make test`), three for developers (`make check`, `make bench`, `make lock`).
# Everything runs in .venv, made on first use from the locked requirements.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test check bench lock format clean

help:
	@echo 'make demo    run everything on this machine, on embedded defaults, and print how to log in'
	@echo 'make test    set up and run every check and test'
	@echo 'make check   the same, for developers: format, lint, types, layers, tests with coverage'
	@echo 'make bench   measure CPU per login'
	@echo 'make lock    write requirements*.txt anew from pyproject.toml'

$(VENV)/.run: requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo 'Python 3.11 or newer is needed (set PYTHON=...)'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed (set PYTHON=...)'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo 'On Debian: apt install python3-venv'; exit 1; }
	@echo 'Installing the locked requirements into $(VENV) ...'
	@$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@echo 'Installing the locked development requirements ...'
	@$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.run
	@$(BIN)/mailauth demo $(ARGS)

test: check

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage erase
	$(BIN)/pytest -n auto --dist loadgroup --cov --cov-report=term $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python bench/run.py $(ARGS)

# uv writes hashes and no index URL; a lock in uv's or PEP 751's own form would carry a URL for each file.
lock: $(VENV)/.run
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--all-extras --group build pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--all-extras --group build --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean:
	rm -rf $(VENV) demo dist .mypy_cache .pytest_cache .ruff_cache .coverage*
