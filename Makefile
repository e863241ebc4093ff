VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d " ")
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz check lint types docs bench exports clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One environment for everything, installed again when pyproject.toml is newer than the stamp.
$(INSTALLED): pyproject.toml
	@echo "installing vocdet into $(VENV) (the first time takes minutes: PyTorch is large)"
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --no-input -e '.[dev,docs]'
	@touch $@

demo: $(INSTALLED) ## generate a dataset in ./demo (replaced each time), train on it, evaluate
	rm -rf demo
	$(BIN)/vocdet demo demo

# Tests start many processes: where PYTHONDONTWRITEBYTECODE is set, each would compile the package again.
test: $(INSTALLED) ## run the tests
	$(BIN)/python -m compileall -q vocdet cli
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

fuzz: $(INSTALLED) ## run the property tests on new examples; SEED=N repeats a run
	@echo "repeat with: make fuzz SEED=$(SEED)"
	VOCDET_FUZZ=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 -m hypothesis --hypothesis-profile=fuzz --hypothesis-seed=$(SEED)

lint: $(INSTALLED) ## check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED) ## check the types
	$(BIN)/mypy

docs: $(INSTALLED) ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: lint types test docs ## all that must pass before a commit

bench: $(INSTALLED) ## time training, detection, samples and datasets beside other programs
	$(BIN)/python -m examples.bench_training
	$(BIN)/python examples/bench_maskrcnn.py
	$(BIN)/python examples/bench_detect.py
	$(BIN)/python -m examples.bench_data
	$(BIN)/python examples/bench_datasets.py --peers

# LiteRT's converter and others pin packages: each has an environment of its own.
exports: $(INSTALLED) ## export every net in every format, run the files, and print how they compare
	$(BIN)/python examples/export_table.py --results build/exports.jsonl --formats onnx openvino tensorrt tensorrt-nms x-anylabeling
	failed=; for format in executorch coreml ncnn litert; do \
	  { test -x build/$$format/bin/pip || $(PYTHON) -m venv build/$$format; } && \
	  build/$$format/bin/python -m pip install --disable-pip-version-check --no-input -q -e ".[$$format]" && \
	  build/$$format/bin/python examples/export_table.py --results build/exports.jsonl --formats $$format || \
	  failed="$$failed $$format"; \
	done; \
	$(BIN)/python examples/export_table.py --results build/exports.jsonl --print; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

clean: ## remove the environment, the demo and every cache; runs/ stays
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
