# `make demo` and `make test` do all the set-up on a machine with Python >= 3.11 and nothing else.
# Both can be repeated: what is done already is not done again.

# What one process has compiled the next one reads, whatever the environment says of it: a start takes
# half the time. Nothing is compiled at installation that nobody imports.
export PYTHONDONTWRITEBYTECODE =

PYTHON ?= python3
VENV := .venv
OMNIFLOW := $(VENV)/bin/omniflow
RUN := demo/run
# What `new-plugin` writes, and the larger example, have types that hold as well.
SCAFFOLD := build/scaffold
SUBTITLES := plugins_example/omniflow-subtitles

.PHONY: demo test lint docs dist clean
.DELETE_ON_ERROR:

demo: $(RUN)/predictions.json
	@$(OMNIFLOW) evaluate $(RUN)/predictions.json --output-json $(RUN)/eval_results.json

$(RUN)/predictions.json: $(RUN)/final/model.safetensors
	$(OMNIFLOW) generate --checkpoint $(RUN) --limit 200 --output $@

$(RUN)/final/model.safetensors: | $(VENV)/.installed
	$(OMNIFLOW) train --head vq --refiner mlp --output-dir $(RUN) --resume auto

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	rm -rf $(SCAFFOLD)
	$(OMNIFLOW) new-plugin everything --output-dir $(SCAFFOLD) \
		--kind backbone,head,refiner,encoder,dataset,objective,metric,hook > /dev/null
	MYPYPATH=$(SCAFFOLD)/src:$(SUBTITLES)/src $(VENV)/bin/mypy $(SCAFFOLD) $(SUBTITLES)/src

# Not --quiet, with which warnings are neither told nor counted as errors.
docs: $(VENV)/.installed
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# Where pip finds packages is left to its environment (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...).
dist: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		-c constraints.txt -e ".[dist]"
	$(VENV)/bin/python scripts/dist.py -- --disable-pip-version-check -c constraints.txt

clean:
	rm -rf demo

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		-c constraints.txt -e ".[dev]"
	touch $@
