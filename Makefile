# Two commands: `make demo` and `make test`. Each sets itself up in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
OUT ?= demo$(if $(DATA),-$(notdir $(abspath $(DATA))))
SEED ?= 0

# Debian and Ubuntu keep this part of Python in a package of its own. Root, as in a container, gets
# it at once; anybody else is told.
VENV_PACKAGE := { test "$$(id -u)" = 0 && apt-get update -q && apt-get install -y -q python3-venv; } \
	|| { echo "Python lacks venv; first run: sudo apt install python3-venv" >&2; exit 1; }

.PHONY: demo test lint types check clean

demo: $(VENV)/ready
	$(BIN)/histoweak demo --out $(OUT) --seed $(SEED) $(if $(DATA),--data $(DATA))

test: $(VENV)/ready
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

check: lint types test

# uv installs the 6 GB of PyTorch in half a minute; pip alone takes several.
$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "histoweak needs Python 3.11 or newer; set PYTHON=python3.12, say" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(VENV_PACKAGE)
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV)
