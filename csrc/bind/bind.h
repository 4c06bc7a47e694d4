// What the bindings share. csrc/bind is the only folder that includes pybind11: its files convert Python's arguments to views,
// release the GIL and call csrc/cpu. Validation happened in fastembed_core/ops; what is checked here only guards memory.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <string>

#include "../core/types.h"
#include "../cpu/rows.h"
#include "named.h"

namespace py = pybind11;

namespace fec_bind {

inline const char* const kind_names[] = {"f32", "f16", "bf16", "f64", "i8", "u8", "i4", "bits"};

inline fec::Kind kind_of(const std::string& name) {
    for (int i = 0; i < 8; ++i)
        if (name == kind_names[i]) return static_cast<fec::Kind>(i);
    throw py::value_error("kind: got '" + name + "', expected one of f32 f16 bf16 f64 i8 u8 i4 bits");
}

using Clock = std::chrono::steady_clock;

// When this thread last looked for signals, or began its call: a call of many short passes looks as often as one long pass.
inline thread_local Clock::time_point last_look;

// Whether a signal waits for Python, every 50 ms; no otherwise.
inline bool signal_pending() {
    const auto now = Clock::now();
    if (now - last_look < std::chrono::milliseconds(50)) return false;
    last_look = now;
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

inline const float* floats(const py::object& x) { return x.is_none() ? nullptr : static_cast<const float*>(py::array(x).data()); }

inline fec::Rows rows_of(const py::array& data, const std::string& kind, int64_t dim, const py::object& scale, const py::object& ranges,
                         int flip) {
    if (data.ndim() != 2) throw py::value_error("data: expected 2 dimensions");
    return {static_cast<const char*>(data.data()),
            data.shape(0),
            dim,
            data.strides(0),
            kind_of(kind),
            floats(scale),
            floats(ranges),
            static_cast<uint8_t>(flip)};
}

inline const char* const precision_names[] = {"float32", "float16", "int8_row", "int4_row", "int8", "uint8", "binary", "ubinary"};
inline const char* const pool_modes[] = {"mean", "max", "cls", "lasttoken", "weightedmean", "mean_sqrt_len_tokens", "attention"};

inline fec::Precision precision_of(const std::string& name) { return named<fec::Precision>("precision", name, precision_names); }

// Runs work(poll) without the GIL; a signal that arrived meanwhile is raised here.
template <class Work>
void released(Work work) {
    bool finished;
    {
        py::gil_scoped_release nogil;
        last_look = Clock::now();
        finished = work(signal_pending);
    }
    if (!finished) throw py::error_already_set();
}

// One function a file: adds its operations to the module.
void bind_search(py::module_& m);
void bind_pool(py::module_& m);
void bind_bag(py::module_& m);
void bind_direct(py::module_& m);
void bind_limits(py::module_& m);
void bind_maxsim(py::module_& m);
void bind_quantize(py::module_& m);
void bind_range(py::module_& m);

}  // namespace fec_bind
