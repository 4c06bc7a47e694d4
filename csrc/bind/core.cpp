// The compiled extension: converts Python's arguments to views, releases the GIL, calls csrc/cpu. Validation happened in
// fastembed_core/ops; what is checked here only guards memory.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "../core/thread_pool.h"
#include "../cpu/dispatch.h"
#include "../cpu/limits.h"
#include "../cpu/search.h"

namespace py = pybind11;

namespace {

using fec::Kind;

const char* const kind_names[] = {"f32", "f16", "bf16", "f64", "i8", "u8", "i4", "bits"};

Kind kind_of(const std::string& name) {
    for (int i = 0; i < 8; ++i)
        if (name == kind_names[i]) return static_cast<Kind>(i);
    throw py::value_error("kind: got '" + name + "', expected one of f32 f16 bf16 f64 i8 u8 i4 bits");
}

// Whether a signal waits for Python; called by the calling thread between blocks of a long call.
bool signal_pending() {
    py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

const float* floats(const py::object& x) { return x.is_none() ? nullptr : static_cast<const float*>(py::array(x).data()); }

fec::Rows rows_of(const py::array& data, const std::string& kind, int64_t dim, const py::object& scale, const py::object& ranges, int flip) {
    if (data.ndim() != 2) throw py::value_error("data: expected 2 dimensions");
    return {static_cast<const char*>(data.data()), data.shape(0), dim, data.strides(0), kind_of(kind), floats(scale), floats(ranges),
            static_cast<uint8_t>(flip)};
}

struct NamedRecipe {
    const char* isa;
    const fec::Recipe* recipe;
};

// Every recipe this machine runs, whatever instruction set is in use.
std::vector<NamedRecipe> all_recipes() {
    std::vector<NamedRecipe> all;
    const auto append = [&all](const char* isa, const fec::LimitKernels& kernels) {
        for (int i = 0; i < kernels.count; ++i) all.push_back({isa, kernels.recipes + i});
    };
    append("any", fec::plain_recipes());
    for (int i = 0; i < 5; ++i)
        if (const fec::Kernels* kernels = fec::kernels_of(static_cast<fec::Isa>(i))) append(fec::isa_names[i], kernels->limits);
    return all;
}

const char* const resource_names[] = {"fma", "int8", "int4", "popcount", "read", "copy"};

double run_recipe(size_t index, const py::object& source, const py::object& target, int64_t n, int threads) {
    const std::vector<NamedRecipe> all = all_recipes();
    if (index >= all.size()) throw py::value_error("recipe: expected an index into recipes()");
    const fec::Recipe& recipe = *all[index].recipe;
    const bool copies = recipe.resource == fec::Resource::copy, walks = copies || recipe.resource == fec::Resource::read;
    py::array from = walks ? py::array(source) : py::array(), to = copies ? py::array(target) : py::array();
    if ((walks && from.nbytes() < n) || (copies && to.nbytes() < n)) throw py::value_error("n: expected at most the bytes of the arrays");
    char* const out = copies ? static_cast<char*>(to.mutable_data()) : nullptr;
    if (reinterpret_cast<uintptr_t>(out) % 64) throw py::value_error("target: expected memory aligned to 64 bytes");
    const char* const in = static_cast<const char*>(from.data());
    double work;
    {
        py::gil_scoped_release nogil;
        work = fec::run_recipe(recipe, in, out, n, threads, signal_pending);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return work;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "C++ kernels of fastembed_core. Private: call fastembed_core's own functions.";

    m.def("isa", [] { return fec::isa_names[static_cast<int>(fec::current_isa())]; }, "The instruction set in use.");
    m.def(
        "isas",
        [] {
            std::vector<std::string> names;
            for (int i = 0; i < 5; ++i)
                if (fec::isa_built(static_cast<fec::Isa>(i)) && fec::isa_available(static_cast<fec::Isa>(i))) names.push_back(fec::isa_names[i]);
            return names;
        },
        "The instruction sets this build holds and this machine runs, ascending.");
    m.def(
        "select_isa",
        [](const std::string& name) {
            for (int i = 0; i < 5; ++i)
                if (name == fec::isa_names[i] && fec::select_isa(static_cast<fec::Isa>(i))) return;
            throw py::value_error("isa: got '" + name + "', expected one that this machine runs");
        },
        py::arg("name"), "Use one instruction set from now on (for tests).");

    m.def(
        "recipes",
        [] {
            std::vector<std::tuple<std::string, std::string, std::string>> names;
            for (const NamedRecipe& one : all_recipes())
                names.emplace_back(one.isa, resource_names[static_cast<int>(one.recipe->resource)], one.recipe->name);
            return names;
        },
        "(instruction set, resource, name) of every recipe that measures a limit of this machine.");
    m.def("run_recipe", &run_recipe, py::arg("recipe"), py::arg("source"), py::arg("target"), py::arg("n"), py::arg("threads"),
          "Run recipes()[recipe] for n steps, or over n bytes (read, copy); returns the work done.");
}
