# Every target but `dev` works in its own environment, made here at the versions constraints.txt names.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTRAS := test,torch,numba,triton,demo
LINT := ruff mypy codespell clang-format
JOBS ?= 2

# Where CMake finds pybind11: the package, or torch's copy of its headers.
PYBIND11 = $$($(PYTHON) -c 'import pybind11; print("-Dpybind11_DIR=" + pybind11.get_cmake_dir())' 2> /dev/null \
	|| $(PYTHON) -c 'import torch; print("-Dpybind11_INCLUDE_DIR=" + torch.__path__[0] + "/include")')

export FASTEMBED_CORE_REQUIRE_NATIVE = 1
export PYTHONSAFEPATH = 1

.PHONY: test test-hosts hosts test-gpu lint format demo bench bench-gpu stubs dev cuda install clean

# A worker a core, each taking whole files in order: what a file's tests share is built once.
test: $(VENV)/.extra-$(EXTRAS) install
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder --ignore=tests/integrations $(ARGS)

# Every integration beside the real host, in an environment of their own.
test-hosts:
	$(MAKE) VENV=.venv-hosts hosts

hosts: $(VENV)/.hosts install
	$(BIN)/pytest -p no:codspeed -o asyncio_mode=auto -o asyncio_default_fixture_loop_scope=function tests/integrations $(ARGS)

# The kernels on this machine's GPU, from this folder, with whatever torch and triton PYTHON has; the extensions too where they build: a
# corpus' codes are made by the one for the host, and CUDA C++ needs nvcc. Most of a first run is compiling some thousand Triton kernels:
# by eight workers where PYTHON has pytest-xdist.
test-gpu: export PYTHONPATH = $(CURDIR)
test-gpu:
	-command -v cmake > /dev/null && $(MAKE) dev JOBS=8
	-command -v nvcc > /dev/null && $(MAKE) cuda
	@env -u TRITON_INTERPRET $(PYTHON) -c 'import sys; from fastembed_core.backends import triton; sys.exit(triton.BACKEND.missing())'
	env -u TRITON_INTERPRET $(PYTHON) -m pytest tests/gpu $$($(PYTHON) -c 'import xdist; print("-n 8 --dist loadfile")' 2> /dev/null) $(ARGS)

# The same kernels against the GPU's limits and its fastest rivals; writes bench/results.
bench-gpu: export PYTHONPATH = $(CURDIR)
bench-gpu:
	-command -v cmake > /dev/null && $(MAKE) dev JOBS=8
	-command -v nvcc > /dev/null && $(MAKE) cuda
	env -u TRITON_INTERPRET $(PYTHON) -m bench.gpu $(ARGS)

demo: $(VENV)/.extra-demo install
	$(BIN)/fastembed-core demo $(ARGS)

# Every workload against every rival and this machine's limits, then whole programs of hosts; writes bench/results. ARGS names workloads, threads, a scale.
bench: $(VENV)/.extra-bench install
	$(BIN)/python bench $(ARGS)
	$(if $(ARGS),,$(BIN)/python bench/hosts)

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/clang-format --dry-run -Werror $$(find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')

format: $(VENV)/.lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $$(find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')

# The stub of the extension, from the extension.
stubs: $(VENV)/.extra-$(EXTRAS) install
	$(BIN)/pybind11-stubgen fastembed_core._core --exit-code -o build/stubs
	cp build/stubs/fastembed_core/_core.pyi fastembed_core/_core.pyi

# The extension, built in place with any Python: what `import fastembed_core` from this folder finds.
dev:
	cmake -S . -B build/dev -DPython_EXECUTABLE=$$(command -v $(PYTHON)) $(PYBIND11) > /dev/null
	cmake --build build/dev -j $(JOBS)
	install build/dev/_core*.so fastembed_core/

# The CUDA extension, built in place by nvcc.
cuda:
	cmake -S . -B build/cuda -DFASTEMBED_CORE_PYTHON=OFF -DFASTEMBED_CORE_CUDA=ON -DPython_EXECUTABLE=$$(command -v $(PYTHON)) \
		$(PYBIND11) > /dev/null
	cmake --build build/cuda --target _cuda -j 3
	install build/cuda/_cuda*.so fastembed_core/

clean:
	rm -rf $(VENV) .venv-hosts build dist fastembed_core/_core*.so fastembed_core/_cuda*.so

install: $(VENV)/.build
	$(PIP) install --no-build-isolation --no-deps --force-reinstall .

# An interpreter without ensurepip (Debian's) still has a pip that can install into another environment.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $@ install --quiet pip; }

$(VENV)/.build: constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt scikit-build-core pybind11 cmake ninja
	touch $@

$(VENV)/.extra-%: constraints.txt constraints-hosts.txt pyproject.toml | $(VENV)/.build
	$(PIP) install -c constraints.txt -c constraints-hosts.txt --no-build-isolation --no-compile '.[$*]'
	touch $@

$(VENV)/.hosts: constraints-hosts.txt | $(VENV)/.extra-$(EXTRAS)
	$(PIP) install -c constraints.txt --no-compile -r constraints-hosts.txt
	touch $@

$(VENV)/.lint: constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt numpy $(LINT)
	touch $@
