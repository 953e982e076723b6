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
# The extra `ray`, whose wheel is too large for the set-up, and where it is installed instead.
RAY := "ray>=2.9"
RAY_PATH := .cache/ray

.DEFAULT_GOAL := help
.PHONY: help setup read demo test test-ray lint docs clean

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

$(RAY_PATH)/complete: | setup
	@$(RUN) -m pip install --quiet --retries 1 --timeout 20 --upgrade --target $(RAY_PATH) \
		-c constraints.txt $(RAY) && touch $@

test-ray: $(RAY_PATH)/complete  ## test labelling on a Ray cluster of two machines; installs Ray into .cache
	@PYTHONPATH="$(CURDIR)/$(RAY_PATH)$${PYTHONPATH:+:$$PYTHONPATH}" \
		$(RUN) -m pytest tests/cli/anchors/test_ray.py $(ARGS)

lint: setup  ## ruff check, ruff format --check, mypy
	@status=0; for tool in "ruff check" "ruff format --check" mypy; do \
		$(RUN) -m $$tool || status=1; done; exit $$status

docs: setup  ## build the site with the reference of the API into output/site
	@$(RUN) -m pip install --quiet -c constraints.txt $(SITE)
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo output/site/index.html

clean:  ## remove what make made, the environment included
	@"$(PYTHON)" tools/bootstrap.py --clean
