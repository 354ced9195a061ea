# make demo: set up and run the main job.  make test: set up and test.  The first run creates .venv; later ones are quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Where this is set, as in many containers, each process compiles every module that it imports anew: 3 to 8 s of CPU time.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: setup demo test check slow long faults lint bench reproduce docs requirements clean

setup: $(READY)

# uv installs in seconds what takes pip minutes; where it cannot reach its index, pip does it.
$(READY): requirements.txt requirements-installer.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "metalearn needs Python 3.11 or newer; choose one with: make PYTHON=python3.12"; exit 2; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --no-deps --require-hashes -r requirements-installer.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt || $(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)
	$(BIN)/python experiments/compare.py

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

# Linters, types, and the tests that a wrong formula fails first.
check: lint
	$(BIN)/python -m pytest -n 2 tests/estimators/test_numpy_reference.py tests/estimators/test_closed_forms.py \
		tests/test_compilation.py tests/test_statistics.py tests/test_floors.py

slow: $(READY)
	$(BIN)/python -m pytest -m slow -n 2

# Whole tables: every problem in every experiment, every optimiser of optax, every case of the judge, kills, notebooks.
long: $(READY)
	$(BIN)/python -m pytest -m long -n 2

# Random kills, random configurations, W&B runs in parts; about half an hour on two idle cores.
faults: $(READY)
	METALEARN_KILLS=25 METALEARN_CASES=2000 $(BIN)/python -m pytest -m "slow or long or not slow" -s \
		tests/faults tests/recording tests/application/test_resume.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

reproduce: $(READY)
	$(BIN)/python experiments/reproduce.py

bench: $(READY)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.first_result

# The site, in docs/_build/html. Sphinx is installed beside the rest on the first call; -W makes an error of every warning,
# and a link to a page or heading that does not exist is one. Nothing is fetched while the site is built.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

$(VENV)/.docs: $(READY) requirements-docs.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-docs.txt || $(PIP) --require-hashes -r requirements-docs.txt
	@touch $(VENV)/.docs

# Hashes without addresses: the files say what is installed and never from where.
COMPILE := $(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --upgrade
requirements: $(READY)
	$(COMPILE) pyproject.toml --extra dev -o requirements.txt
	$(COMPILE) pyproject.toml --extra docs --constraint requirements.txt -o requirements-docs.txt
	echo 'uv>=0.8,<0.20' | $(COMPILE) - -o requirements-installer.txt

clean:
	rm -rf $(VENV) runs wandb outputs multirun docs/_build
