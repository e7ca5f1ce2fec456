# The whole workflow. `make demo` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
# exact versions that the tests run with; CONSTRAINTS=/dev/null takes the newest that pyproject.toml allows
CONSTRAINTS ?= constraints.txt
MINUTES ?= 10

.PHONY: install demo test check format bench docs trust clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	touch $@

demo: install  ## the main job on the built-in phantom; prints where report.html is
	$(BIN)/archimed run mstf-nas --data phantom:lesions2d --preset quick --out runs/demo

test: install  ## all tests that need neither a network nor a GPU; those marked `data` run where the images are
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

check: install  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

trust: install  ## hostile files, full disks, damaged images, then ten minutes of kills and fuzzing; MOMENTS=200 for longer
	$(BIN)/python -m pytest tests/trust tests/faults tests/data/test_fuzz.py
	-$(BIN)/python -m pip install --quiet atheris
	$(BIN)/python -m tests.trust all --minutes $(MINUTES) $(if $(MOMENTS),--moments $(MOMENTS))

bench: install  ## ratios against the floor and, where PEER_DIR names their code, against peers
	$(BIN)/python -m benchmarks

docs: install  ## the documentation as a site in site/, without a warning
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html"

clean:
	rm -rf .venv build dist *.egg-info
