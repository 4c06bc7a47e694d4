PYTHON ?= python3

# The extension, built in place: what `import fastembed_core` from this folder finds.
.PHONY: dev
dev:
	cmake -S . -B build/dev -DPython_EXECUTABLE=$$(command -v $(PYTHON)) -Dpybind11_DIR=$$($(PYTHON) -m pybind11 --cmakedir) > /dev/null
	cmake --build build/dev -j 2
	cp build/dev/_core*.so fastembed_core/
