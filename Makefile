# Each target does its own set-up; needs Python 3.11+ and a C++ compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# torch is installed on its own, before anything that depends on it, so that a CPU build is kept where one was chosen.
TORCH ?= torch==2.13.0
SOURCES := pyproject.toml CMakeLists.txt $(shell find kernels -name '*.cpp' -o -name '*.h' -o -name 'CMakeLists.txt')

.PHONY: demo test test-all lint bench wheel clean demo-avatar

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "scikit-build-core>=0.11" "nanobind>=2.4" cmake ninja

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable .
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[export,test,style]"
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[dev]"
	touch $@

# ffmpeg for demo.mp4, where none is on the path. Without it the demo works too; its video is VP9.
$(VENV)/.video: $(VENV)/.installed
	command -v ffmpeg > /dev/null || $(BIN)/python -m pip install --quiet imageio-ffmpeg || true
	touch $@

demo: $(VENV)/.video
	$(BIN)/dinar demo --frames 300 --headless
	@echo "Run '$(BIN)/dinar demo' to keep it open in a browser."

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -m "not slow"

# With the tests that are marked slow, each of which takes some ten seconds or more.
test-all: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

# Style, form and types: what the pre-commit hooks run, over the whole tree.
lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.installed
	$(BIN)/dinar bench

wheel: $(BIN)/python
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf build dist $(VENV)

# Rebuilds the avatar in the package from the capture that it was made of (CC0; not in this repository); 10 to 30 minutes.
PERSON ?= ../shared/people/ada
demo-avatar: $(VENV)/.test
	$(BIN)/dinar fit $(PERSON) --name ada --overwrite --out out/demo_avatar \
	  --licence "CC0 1.0: made from renders of MakeHuman CC0 assets on the CC0 open body; see NOTICE. The person does not exist."
	rm -rf runtime/assets/demo_avatar
	cp -r out/demo_avatar runtime/assets/demo_avatar
