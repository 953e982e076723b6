# The work is done by tools/bootstrap.py (set-up) and by the commands named below.
# PYTHON chooses the interpreter; if it can import Detectron2, that one is used.
PYTHON ?= python3
ARGS ?=
# Files, folders or patterns that `make read` reads.
IMAGES ?= docs/scenes
# Processes that share the tests.
JOBS ?= 2
# Keeps bytecode also where the environment says not to: without it, every process compiles PyTorch
# and its requirements again, for some seconds.
RUN := PYTHONDONTWRITEBYTECODE= .venv/bin/python
# The extra `docs` of setup.py.
SITE := "mkdocs>=1.6,<2" "mkdocs-material>=9.5" "mkdocstrings[python]>=0.26"
# Extras whose wheels are too large for the set-up; `.cache/ray` and `.cache/export` hold them.
EXTRA_ray := "ray>=2.9"
EXTRA_export := "onnx>=1.16" "onnxruntime>=1.17"
# The tests given to it, with an extra.
WITH = PYTHONPATH="$(CURDIR)/.cache/$(1)$${PYTHONPATH:+:$$PYTHONPATH}" $(RUN) -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup read demo test test-ray test-export lint docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1  /p' Makefile | awk '{n = $$1; $$1 = ""; printf "make %-8s %s\n", n, $$0}'

setup:  ## make .venv with everything in it (the targets below do it by themselves)
	@"$(PYTHON)" tools/bootstrap.py

read: setup  ## find and read the words of IMAGES=photos/, draw them into read_output/ (a minute)
	@$(RUN) -m wecromcl_d2 read $(IMAGES) --output read_output --print $(ARGS)

demo: setup  ## train the quick anchor detector and spotter and draw what they find, into demo_output/
	@$(RUN) -m wecromcl_d2 pipeline --config-file configs/quick/anchors.yaml \
		--spotter configs/quick/srsts_a.yaml --true-points --output demo_output $(ARGS)

test: setup  ## run the tests (ARGS="-k rules" for a part)
	@$(RUN) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

.cache/%/complete: | setup
	@$(RUN) -m pip install --quiet --no-warn-conflicts --retries 1 --timeout 20 --upgrade \
		--target $(@D) -c constraints.txt $(EXTRA_$*) && touch $@

test-ray: .cache/ray/complete  ## test labelling on a Ray cluster of two machines, with Ray in .cache
	@$(call WITH,ray) tests/cli/anchors/test_ray.py $(ARGS)

test-export: .cache/export/complete  ## test exported models, with ONNX and its runtime in .cache
	@$(call WITH,export) tests/export $(ARGS)

lint: setup  ## ruff check, ruff format --check, mypy
	@status=0; for tool in "ruff check" "ruff format --check" mypy; do \
		$(RUN) -m $$tool || status=1; done; exit $$status

docs: setup  ## build the site with the reference of the API into output/site
	@$(RUN) -m pip install --quiet -c constraints.txt $(SITE)
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo output/site/index.html

clean:  ## remove what make made, the environment included
	@"$(PYTHON)" tools/bootstrap.py --clean
