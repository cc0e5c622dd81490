# make demo   street maps become aerial photographs; prints the path of the picture to look at
# make test   ruff, mypy, pytest
# Both create .venv on first use and install the versions named in constraints.txt.

.DEFAULT_GOAL := demo
.PHONY: demo test clean
SHELL := /bin/sh

BIN := .venv/bin
PYTHON = $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# pip's own progress would bury what the commands print; errors and warnings stay
INSTALL := $(PIP) install --quiet --constraint constraints.txt

# The samples are named: without an input, a prepared test split of the model's data set would be taken if there is one.
demo: .venv/.installed-run
	@$(BIN)/i2i translate --model pix2pix map2aerial i2i/zoo/samples/street_maps -o out/demo --compare --overwrite

# One thread each: two test processes with two threads each would fight for two cores.
test: export OMP_NUM_THREADS = 1
test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy i2i
	$(BIN)/python -m pytest -q -n 2 -m "not dist"
	$(BIN)/python -m pytest -q -m dist

# $(BIN)/pip, not $(BIN)/python: a python without ensurepip leaves a folder that has the latter alone.
$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "i2i needs Python 3.11 or newer, and no python3 here is: install one, or name it with 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "i2i needs Python 3.11 or newer, and $(PYTHON) is not: name another with 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment: install its venv package (Debian and Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }

.venv/.installed-run: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing i2i and what it needs into .venv (the first time, several minutes) ..."
	@$(INSTALL) --editable .
	@$(one-opencv)
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing i2i, what it needs and what its tests need into .venv (the first time, several minutes) ..."
	@$(INSTALL) --editable '.[dev,heif,inspect,log,metrics,onnx,spandrel,video]'
	@$(one-opencv)
	@touch $@ .venv/.installed-run

# albumentations brings opencv-python-headless beside opencv-python: both write the folder cv2, and constraints.txt keeps
# them at one version, so that it does not matter which was last. Where the machine lacks the graphics libraries that the
# former links (libGL, glib), the latter must be last.
define one-opencv
$(BIN)/python -c 'import cv2; cv2.imread' >/dev/null 2>&1 || \
	$(INSTALL) --force-reinstall --no-deps opencv-python-headless; \
$(BIN)/python -c 'import cv2; cv2.imread' >/dev/null || \
	{ echo "OpenCV does not load; 'i2i doctor' says more." >&2; exit 1; }
endef

clean:
	rm -rf .venv out build dist
