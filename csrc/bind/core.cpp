// The compiled extension: converts Python's arguments to views, releases the GIL, calls csrc/cpu. Validation happened in
// fastembed_core/ops; what is checked here only guards memory.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../core/thread_pool.h"
#include "../cpu/dispatch.h"
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

template <class Enum>
Enum named(const char* what, const std::string& name, std::initializer_list<const char*> names) {
    int i = 0;
    for (const char* each : names) {
        if (name == each) return static_cast<Enum>(i);
        ++i;
    }
    throw py::value_error(std::string(what) + ": got '" + name + "'");
}

// An operand as Python holds it: keeps its arrays alive while kernels read them.
struct Operand {
    Operand(py::array data, const std::string& kind, int64_t dim, py::object scale, py::object ranges, int flip)
        : data_(std::move(data)), scale_(std::move(scale)), ranges_(std::move(ranges)), rows(rows_of(data_, kind, dim, scale_, ranges_, flip)) {}

private:
    py::array data_;
    py::object scale_, ranges_;

public:
    fec::Rows rows;
};

fec::Pair pair_of(const Operand& q, const Operand& x, const std::string& metric, const std::string& form) {
    return {q.rows, x.rows, named<fec::Metric>("metric", metric, {"cosine", "ip", "l2", "sqeuclidean", "hamming", "jaccard"}),
            named<fec::Form>("form", form, {"float", "int", "row", "bits"})};
}

fec::Allowed allowed_of(const py::object& mask, bool packed, const py::object& exclude) {
    fec::Allowed allowed{};
    if (!mask.is_none()) {
        const py::array m(mask);
        allowed.mask = static_cast<const uint8_t*>(m.data());
        allowed.stride = m.ndim() == 2 ? m.strides(0) : 0;
        allowed.packed = packed;
    }
    if (!exclude.is_none()) {
        const py::array e(exclude);
        allowed.exclude = static_cast<const int64_t*>(e.data());
        allowed.excludes = e.shape(1);
    }
    return allowed;
}

// Runs work(poll) without the GIL; a signal that arrived meanwhile is raised here.
template <class Work>
void released(Work work) {
    bool finished;
    {
        py::gil_scoped_release nogil;
        finished = work(signal_pending);
    }
    if (!finished) throw py::error_already_set();
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

    py::class_<Operand>(m, "Rows", "An operand of a search: arrays and how to read them.")
        .def(py::init<py::array, const std::string&, int64_t, py::object, py::object, int>(), py::arg("data"), py::arg("kind"), py::arg("dim"),
             py::arg("scale") = py::none(), py::arg("ranges") = py::none(), py::arg("flip") = 0);

    m.def(
        "topk",
        [](const Operand& q, const Operand& x, int64_t k, const std::string& metric, const std::string& form, const py::object& mask, bool packed,
           const py::object& exclude, int threads, py::array scores, py::array_t<int64_t> indices) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            const fec::Allowed allowed = allowed_of(mask, packed, exclude);
            void* to = scores.mutable_data();
            int64_t* rows = indices.mutable_data();
            released([&](fec::Poll poll) { return fec::topk(pair, k, allowed, threads, poll, to, rows); });
        },
        "The k best rows for each query.");
    m.def(
        "rescore",
        [](const Operand& q, const Operand& x, const py::array_t<int64_t>& ids, int64_t k, const std::string& metric, const std::string& form,
           int threads, py::array scores, py::array_t<int64_t> indices) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            const int64_t* candidates = ids.data();
            const int64_t width = ids.shape(1);
            void* to = scores.mutable_data();
            int64_t* rows = indices.mutable_data();
            released([&](fec::Poll poll) { return fec::rescore(pair, candidates, width, k, threads, poll, to, rows); });
        },
        "The k best of given rows for each query.");
    m.def(
        "similarity",
        [](const Operand& q, const Operand& x, const std::string& metric, const std::string& form, int threads, py::array scores) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            void* to = scores.mutable_data();
            released([&](fec::Poll poll) { return fec::similarity(pair, threads, poll, to); });
        },
        "The score of every pair.");
    m.def(
        "similarity_paired",
        [](const Operand& q, const Operand& x, const std::string& metric, const std::string& form, int threads, py::array scores) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            void* to = scores.mutable_data();
            released([&](fec::Poll poll) { return fec::similarity_paired(pair, threads, poll, to); });
        },
        "The score of the pairs (i, i).");
}
