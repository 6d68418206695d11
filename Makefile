# Every target is a few lines that a person could type. The first one that needs it makes .venv.
#
#   make demo       cut out the photos in demo/photos
#   make test       the tests, without those that take minutes or need a GPU, browser or network
#   make test-all   all that this machine can run
#   make gradio     the page on Gradio's server, in an environment of its own; part of test-all
#   make wheels     build all wheels, and test them together without their sources
#   make release    build every distribution into dist/, check them, and say what is left to do
#   make check      lint, formatting, types
#   make docs       write what pages take from elsewhere: docs/models.md, files shown in pages
#   make site       these pages as a site, in build/site/html
#   make bench      measure; writes bench/results/
#   make matrix     how far each runtime is from torch, for every model; hours of one core; goes on
#   make gpu        on a machine with a CUDA card: its tests, training, speed; under ten minutes
#   make clean      delete .venv and everything that was built
#
# PYTHON=python3.12 chooses the interpreter. TORCH="torch==2.13.0" chooses the torch that is
# installed first, TORCH="torch torchvision --index-url https://download.pytorch.org/whl/cpu" the one for CPUs.

PYTHON ?= python3
TORCH ?= torch
PLUGINS := $(patsubst %/pyproject.toml,./%,$(wildcard plugins/*/pyproject.toml))
PROJECTS := pyproject.toml $(PLUGINS:%=%/pyproject.toml)
EDITABLE := $(PLUGINS:%=-e %)
# OpenVINO stays in the process that has imported it, and one that had served the Hub's tests before
# ended when it started another: these run in a process of their own. Why is not known. It ended
# without a line, of faulthandler either; and not at all in two tries with 178 and 140 tests: those of
# test_hub*.py, then those of test_publish.py, each before OpenVINO and a child of some of
# test_artefacts.py. Of what is loaded, torch, grpc and OpenBLAS of scipy ask to be told of a fork.
ALONE := tests/test_artefacts.py tests/test_every_runtime.py tests/test_export_graphs.py
QUICK := not slow and not stress and not gpu and not gradio and not browser and not site and not network and not ray

.PHONY: demo test test-all gradio wheels release check docs site bench matrix gpu clean

demo: .venv/for-use
	.venv/bin/segzoo cutout demo/photos -o demo-out --overwrite
	@echo "The cut-outs are in $(CURDIR)/demo-out"

test: .venv/for-development
	.venv/bin/pytest -n auto --dist loadfile -m "$(QUICK)" $(ALONE:%=--ignore %)
	.venv/bin/pytest -n auto --dist loadfile -m "$(QUICK)" $(ALONE)

test-all: .venv/for-development
	.venv/bin/pytest -rs $(ALONE:%=--ignore %)
	.venv/bin/pytest -rs $(ALONE)
	$(MAKE) gradio

# gradio wants an older Pillow than the tests are held to, and so has an environment of its own.
gradio: build/gradio/for-use
	build/gradio/bin/pytest -rs -m gradio tests/test_page.py

wheels: .venv/for-development
	.venv/bin/python .ci/wheels.py

# TAG=v1.2.3 is compared with the version in the files.
release:
	$(PYTHON) -m venv build/release
	build/release/bin/pip install --quiet build twine
	build/release/bin/python .ci/release.py $(TAG)

check: .venv/for-development
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: .venv/for-development
	.venv/bin/python docs/generate.py

site: .venv/for-development
	.venv/bin/pip install --quiet -e ".[docs]"
	.venv/bin/python docs/website.py

bench: .venv/for-development
	.venv/bin/python bench/startup.py
	.venv/bin/python bench/load.py

matrix: .venv/for-development
	.venv/bin/python bench/matrix.py

gpu: .venv/for-development
	.venv/bin/python bench/gpu.py

clean:
	rm -rf .venv demo-out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

build/gradio/for-use: $(PROJECTS)
	$(PYTHON) -m venv build/gradio
	build/gradio/bin/pip install $(TORCH)
	build/gradio/bin/pip install -e ".[test]" $(EDITABLE) "gradio>=6"
	touch $@

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

.venv/for-use: $(PROJECTS) | .venv/pyvenv.cfg
	@echo "Downloads $(TORCH) and what the plugins need, into .venv."
ifeq ($(TORCH),torch)
	@echo "torch brings the libraries of CUDA on Linux, 5 GB in all; for a machine without a GPU there is a small build:"
	@echo '  make demo TORCH="torch torchvision --index-url https://download.pytorch.org/whl/cpu"'
endif
	.venv/bin/pip install $(TORCH)
	.venv/bin/pip install -e . $(EDITABLE)
	touch $@

.venv/for-development: $(PROJECTS) | .venv/pyvenv.cfg
	.venv/bin/pip install $(TORCH)
	.venv/bin/pip install -e ".[test,check]" $(EDITABLE)
	touch $@ .venv/for-use
