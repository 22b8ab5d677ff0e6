# Two commands to start: `make quickstart` shows the whole thing work, `make test` checks it.
# Both install into .venv on first use; later calls install nothing until pyproject.toml or constraints.txt changes.

SHELL  := /bin/bash -o pipefail
PYTHON ?= python3
JOBS   ?= 2
ARGS   ?=
BIN    := .venv/bin
STAMP  := .venv/.installed
EXTRAS := .venv/.extras
EMPTY  := build/empty
SITE   := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

.PHONY: quickstart test test-all lint fast slow wheel bench frontier docs screens clean

quickstart: $(STAMP)
	@$(BIN)/logratio quickstart $(ARGS)

test: lint fast wheel

test-all: test slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fast: $(STAMP)
	$(BIN)/pytest -q -n $(JOBS)

slow: $(EXTRAS)
	$(BIN)/pytest -q -n $(JOBS) -m slow

# The wheel goes into an environment that was made empty. Its dependencies are lent from .venv by a path file; the
# package cannot be, since path files (the one of an editable install is such) count only in an environment's own folder.
wheel: $(STAMP)
	@rm -rf build/bdist.* build/lib build/dist $(EMPTY)
	@$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation --wheel-dir build/dist .
	@$(BIN)/python -m venv --without-pip $(EMPTY)
	@$(BIN)/python -m pip --python $(EMPTY)/bin/python install -q --no-deps --no-index build/dist/*.whl
	@diff <(cd src && find logratio -type f -not -path '*/__pycache__/*' | sort) \
	      <(cd $$($(EMPTY)/bin/python $(SITE)) && find logratio -type f -not -path '*/__pycache__/*' | sort)
	@$(BIN)/python $(SITE) > $$($(EMPTY)/bin/python $(SITE))/dependencies.pth
	@cd build && empty/bin/logratio --help && empty/bin/logratio objectives > /dev/null
	@cd build && empty/bin/python -c 'import logratio; assert "build/empty" in logratio.__file__, logratio.__file__'
	@echo "The wheel holds every file of the package and runs."

# Against TRL, which gets an environment of its own; about 45 minutes on 2 cores. Results go to build/bench/vs-trl.
bench: $(STAMP)
	@$(BIN)/python -m bench vs-trl $(ARGS)

# Reward against KL of every method in the built-in world; ARGS=--quick for one seed of few settings. What is there is not made
# again. Results go to runs/frontier, the figure of the whole study to docs/frontier.svg.
frontier: $(STAMP)
	@$(BIN)/logratio sweep recipes/frontier.yaml --output runs/frontier$(if $(findstring quick,$(ARGS)),-quick) $(ARGS)
	@$(if $(findstring quick,$(ARGS)),,cp runs/frontier/frontier.svg docs/frontier.svg)

# The pages as a site, in build/site; a warning stops it, and neither building nor reading it needs a network.
docs: $(STAMP)
	@$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/site-trees docs build/site
	@echo "The site is in build/site; open build/site/index.html."

# The pictures on those pages, from real runs in a real browser; some ten minutes on 2 cores.
screens: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python docs/images/make.py

# A torch that is in .venv already stays, whichever build it is; pip says so if it is out of range.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "logratio needs Python 3.11 or newer, and $(PYTHON) is not installed."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "logratio needs Python 3.11 or newer;" \
	    "$(PYTHON) is $$($(PYTHON) -V 2>&1). Name another with: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
	@echo "Installing into .venv, once; this takes some minutes (torch is large)."
	@{ grep -v '^torch==' constraints.txt; $(BIN)/python -c \
	    'from importlib.metadata import version; print("torch==" + version("torch"))' 2> /dev/null \
	    || grep '^torch==' constraints.txt; } > .venv/constraints.txt
	@$(BIN)/python -m pip install -q -c .venv/constraints.txt setuptools
	@$(BIN)/python -m pip install -q -c .venv/constraints.txt --no-build-isolation -e '.[dev,docs,8bit]'
	@touch $@

# Packages that only slow tests meet: the benchmarks of `logratio eval --tasks` and two trackers; some 500 MB.
$(EXTRAS): $(STAMP)
	@echo "Installing what only the slow tests use, once; this takes a minute or two."
	@$(BIN)/python -m pip install -q -c .venv/constraints.txt --no-build-isolation -e '.[tasks,mlflow,trackio]'
	@touch $@

clean:
	rm -rf .venv build
