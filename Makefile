# make demo   install the pinned set into .venv, train the embedded model by GRPO, show what it learnt
# make test   the same set-up with the test extras, then all tests that a machine without a card can run
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
PIP := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

.PHONY: demo test lint setup-test nano clean

demo: $(DEMO)/adapter/adapter_model.safetensors
	@$(BIN)/lowmed eval $(DEMO) --with-base

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup-test: .venv/.test

# Rebuild the embedded model from nothing; takes some minutes on two cores.
nano: .venv/.run
	$(BIN)/python -m lowmed.nano.build

# A demo that was cut off goes on where it was.
$(DEMO)/adapter/adapter_model.safetensors: | .venv/.run
	if test -f $(DEMO)/run.json; then $(BIN)/lowmed grpo --resume $(DEMO); \
	else $(BIN)/lowmed grpo --recipe rarl --nano --out $(DEMO); fi

.venv/.run: pyproject.toml constraints.txt | $(BIN)/uv
	$(PIP) --editable .
	@touch $@

.venv/.test: pyproject.toml constraints.txt | $(BIN)/uv
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/.run

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "lowmed needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv

clean:
	rm -rf .venv $(DEMO)
