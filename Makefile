# make demo        install the pinned versions into .venv, train the embedded model by GRPO, show what it learned
# make test        install the test extras too, then run all tests that need no GPU
# make test-fast   the same without the slow tests
# make test-oldest, make test-newest
#                  what loads torch and its libraries, with the versions of .ci/oldest.txt and .ci/newest.txt
# make lint        ruff, the words of .ci/words.py, mypy
# make docs        build the pages of docs/ into site/, without network
# make wheelhouse  wheels of lowmed and all pinned packages in wheelhouse/, for a machine without network; EXTRAS=dicom,ui adds extras
# make gpu-tables  write the GPU tables of docs/, rows for the planner and lowmed/plan/faster.json from benchmarks/results/gpu
PYTHON ?= python3
BIN := .venv/bin
# What depends on the versions of torch and its libraries. The full size needs minutes and shows no difference.
WINDOW := tests/adapter tests/engine tests/models tests/nano tests/plan tests/ship tests/data/test_hub.py -k "not full_size"
PIP := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt

# With this set every process would compile torch, transformers and lowmed again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast test-oldest test-newest lint setup-test nano gpu-tables docs wheelhouse clean

demo: .venv/.run
	@$(BIN)/lowmed demo

test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder

test-fast: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not slow"

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/words.py
	$(BIN)/mypy

# For this machine's Python version and processor.
EXTRAS ?= dicom
wheelhouse: | $(BIN)/uv
	rm -rf wheelhouse
	$(BIN)/python -m pip wheel --quiet --constraint constraints.txt --wheel-dir wheelhouse '.[$(EXTRAS)]'
	cp constraints.txt wheelhouse/
	cp .ci/wheelhouse.md wheelhouse/README.md
	cd wheelhouse && sha256sum *.whl > SHA256SUMS

docs: .venv/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

test-oldest test-newest: test-%: .venv-%/.test
	OMP_NUM_THREADS=1 .venv-$*/bin/pytest -n 2 --dist loadgroup --no-loadscope-reorder $(WINDOW)

setup-test: .venv/.test

# Train the embedded model from scratch; takes some minutes on two cores.
nano: .venv/.run
	$(BIN)/python -m lowmed.nano.build

gpu-tables: .venv/.run
	$(BIN)/python benchmarks/gpu_tables.py

.venv/.run: pyproject.toml constraints.txt | $(BIN)/uv
	$(PIP) --editable .
	@touch $@

.venv/.test: pyproject.toml constraints.txt | $(BIN)/uv
	$(PIP) --editable '.[dev,unsloth]'
	@touch $@ .venv/.run

.venv-%/.test: pyproject.toml .ci/%.txt | $(BIN)/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-$*
	$(BIN)/uv pip install --quiet --python .venv-$*/bin/python --constraint .ci/$*.txt --editable '.[dev]'
	@touch $@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "lowmed needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv

clean:
	rm -rf .venv .venv-oldest .venv-newest runs/demo site wheelhouse dist
