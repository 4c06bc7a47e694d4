// Calls answered from their arguments as Python has them. Checking operands, choosing a backend and converting arguments costs several
// times what a search of a hundred rows does, so a call whose arguments are plainly right - float rows that a kernel reads where they
// lie, a metric's own name, ints that are ints, nothing else given - is recognised and answered here. Any other gets None and goes
// through its contract, which alone says what is wrong. Work is so little that the GIL is not worth handing over.
#include "direct.h"

#include <cstring>
#include <initializer_list>

#include "../core/buffer.h"
#include "../cpu/normalize.h"
#include "../cpu/pool.h"
#include "../cpu/quantize.h"
#include "../cpu/small.h"

namespace fec_bind {
namespace {

using py::detail::npy_api;

constexpr int64_t kMostWork = 1 << 17;  // multiply-adds: a few microseconds, on one thread
constexpr int kHalf = 23;               // NPY_HALF, which pybind11 does not name

using Array = py::detail::PyArray_Proxy;

// An array of so many axes, none empty, in native byte order, its elements side by side along the last; null for anything else.
const Array* plain(PyObject* object, int ndim) {
    if (!object || Py_TYPE(object) != npy_api::get().PyArray_Type_) return nullptr;
    const Array* x = py::detail::array_proxy(object);
    const char order = py::detail::array_descriptor_proxy(x->descr)->byteorder;  // '|' where there is none
    if (x->nd != ndim || (order != '=' && order != '|')) return nullptr;
    for (int i = 0; i < ndim; ++i)
        if (x->dimensions[i] == 0) return nullptr;
    return x->strides[ndim - 1] == py::reinterpret_borrow<py::dtype>(x->descr).itemsize() ? x : nullptr;
}

const Array* plain_floats(PyObject* object, int ndim, fec::Kind& kind) {
    const Array* x = plain(object, ndim);
    if (!x) return nullptr;
    const int type = py::detail::array_descriptor_proxy(x->descr)->type_num;
    kind = type == npy_api::NPY_FLOAT_ ? fec::Kind::f32 : type == kHalf ? fec::Kind::f16 : fec::Kind::f64;
    return kind != fec::Kind::f64 || type == npy_api::NPY_DOUBLE_ ? x : nullptr;
}

// Float rows; a vector is one.
bool plain(PyObject* object, int ndim, fec::Rows& rows) {
    const Array* x = plain_floats(object, ndim, rows.kind);
    if (!x) return false;
    rows.data = x->data, rows.dim = x->dimensions[ndim - 1];
    rows.n = ndim == 2 ? x->dimensions[0] : 1, rows.stride = ndim == 2 ? x->strides[0] : 0;
    return true;
}

// An int of at least `least`.
bool plain(PyObject* object, int64_t least, int64_t& value) {
    if (!object || !PyLong_CheckExact(object)) return false;
    int overflow = 0;
    value = PyLong_AsLongLongAndOverflow(object, &overflow);
    return !overflow && value >= least;
}

// A bool.
bool plain(PyObject* object, bool& value) {
    value = object == Py_True;
    return value || object == Py_False;
}

// One of some names: its place among them.
template <class Enum, size_t N>
bool plain(PyObject* object, const char* const (&names)[N], Enum& value) {
    if (!object || !PyUnicode_CheckExact(object)) return false;
    for (size_t i = 0; i < N; ++i) {
        value = static_cast<Enum>(i);
        if (PyUnicode_CompareWithASCIIString(object, names[i]) == 0) return true;
    }
    return false;
}

// The elements of a vector that are kept: all `dim`, unless an int says how many.
bool kept(PyObject* truncate_dim, int64_t& dim) {
    int64_t given = dim;
    if (truncate_dim && (!plain(truncate_dim, 1, given) || given > dim)) return false;
    dim = given;
    return true;
}

// Two operands of a float metric, none said being cosine.
bool plain(PyObject* a, PyObject* b, PyObject* metric, fec::Pair& pair) {
    pair.metric = fec::Metric::cosine, pair.form = fec::Form::floats;
    return plain(a, 2, pair.q) && plain(b, 2, pair.x) && pair.q.dim == pair.x.dim &&
           (!metric || plain(metric, {"cosine", "ip", "l2", "sqeuclidean"}, pair.metric));
}

// A byte for each token of a mask of bools or integers; false where one is neither 0 nor 1.
bool plain(PyObject* object, int64_t sequences, int64_t length, fec::Buffer<uint8_t>& bytes) {
    const Array* x = plain(object, 2);
    if (!x || x->dimensions[0] != sequences || x->dimensions[1] != length) return false;
    const char kind = py::detail::array_descriptor_proxy(x->descr)->kind;
    const int64_t size = x->strides[1];
    if ((kind != 'b' && kind != 'i' && kind != 'u') || size > 8) return false;
    bytes.resize(sequences * length);
    for (int64_t i = 0; i < sequences * length; ++i) {
        uint64_t value = 0;  // little-endian, as every machine this is built for
        std::memcpy(&value, x->data + i / length * x->strides[0] + i % length * size, static_cast<size_t>(size));
        if (value > 1) return false;
        bytes[i] = static_cast<uint8_t>(value);
    }
    return true;
}

bool little(int64_t rows, int64_t others, int64_t dim) {
    return rows <= kMostWork && others <= kMostWork && rows * others <= kMostWork && dim <= kMostWork / (rows * others);
}

// A new array, and where its data lies.
template <class T>
py::object empty(int type, std::initializer_list<Py_intptr_t> shape, T*& data) {
    const auto& api = npy_api::get();
    auto made = py::reinterpret_steal<py::object>(api.PyArray_NewFromDescr_(
        api.PyArray_Type_, api.PyArray_DescrFromType_(type), static_cast<int>(shape.size()), shape.begin(), nullptr, nullptr, 0, nullptr));
    if (!made) throw py::error_already_set();
    data = reinterpret_cast<T*>(py::detail::array_proxy(made.ptr())->data);
    return made;
}

py::object topk(const Given<8>& given) {
    fec::Pair pair{};
    int64_t k = 0;
    if (!plain(given[0], given[1], given[3], pair) || !plain(given[2], 1, k) || !little(pair.q.n, pair.x.n, pair.q.dim)) return py::none();
    k = std::min(k, pair.x.n);
    float* scores = nullptr;
    int64_t* rows = nullptr;
    const py::object first = empty(npy_api::NPY_FLOAT_, {pair.q.n, k}, scores), second = empty(npy_api::NPY_INT64_, {pair.q.n, k}, rows);
    fec::rank_all(pair, k, scores, rows);
    return py::reinterpret_steal<py::object>(PyTuple_Pack(2, first.ptr(), second.ptr()));
}

py::object similarity(const Given<5>& given) {
    fec::Pair pair{};
    if (!plain(given[0], given[1], given[2], pair) || !little(pair.q.n, pair.x.n, pair.q.dim)) return py::none();
    float* scores = nullptr;
    const py::object made = empty(npy_api::NPY_FLOAT_, {pair.q.n, pair.x.n}, scores);
    fec::score_all(pair, scores);
    return made;
}

py::object similarity_paired(const Given<5>& given) {
    fec::Pair pair{};
    if (!plain(given[0], given[1], given[2], pair) || pair.q.n != pair.x.n || !little(pair.q.n, 1, pair.q.dim)) return py::none();
    float* scores = nullptr;
    const py::object made = empty(npy_api::NPY_FLOAT_, {pair.q.n}, scores);
    fec::similarity_paired(pair, 1, nullptr, scores);
    return made;
}

py::object normalize(const Given<5>& given) {
    fec::Rows x{};
    const bool vector = plain(given[0], 1, x);
    double eps = 1e-12;
    if ((!vector && !plain(given[0], 2, x)) || !little(x.n, 1, x.dim) || !kept(given[1], x.dim)) return py::none();
    if (given[2]) {
        if (!PyFloat_CheckExact(given[2])) return py::none();
        eps = PyFloat_AS_DOUBLE(given[2]);
        if (!(eps >= 1e-300 && eps <= 1e300)) return py::none();
    }
    const bool half = x.kind == fec::Kind::f16;
    const int type = half ? kHalf : static_cast<int>(npy_api::NPY_FLOAT_);
    char* out = nullptr;
    const py::object made = vector ? empty(type, {x.dim}, out) : empty(type, {x.n, x.dim}, out);
    fec::normalize(x, eps, {out, x.dim * (half ? 2 : 4)}, 1, nullptr);
    return made;
}

// Codes that take nothing but rows: the arguments of `Codes`.
py::object quantize(const Given<5>& given) {
    fec::Rows x{};
    fec::RowSink sink{};
    using fec::Precision;
    if (!plain(given[0], 2, x) || !little(x.n, 1, x.dim) || !plain(given[1], precision_names, sink.precision)) return py::none();
    const bool scaled = sink.precision == Precision::int8_row || sink.precision == Precision::int4_row;
    if (!scaled && sink.precision != Precision::binary && sink.precision != Precision::ubinary) return py::none();
    const bool is_signed = sink.precision == Precision::int8_row || sink.precision == Precision::binary;
    sink.dim = x.dim, sink.stride = fec::row_bytes(sink);
    const int type = is_signed ? npy_api::NPY_INT8_ : npy_api::NPY_UINT8_;
    const py::object codes = empty(type, {x.n, sink.stride}, sink.data);
    const py::object scale = scaled ? empty(npy_api::NPY_FLOAT_, {x.n}, sink.scale) : py::none();
    fec::quantize(x, sink, nullptr, 1, nullptr);
    return py::make_tuple(codes, py::handle(given[1]), x.dim, scale);
}

// Padded sequences to float32 vectors by every mode but attention.
py::object pool(const Given<13>& given) {
    fec::Pooling call{};
    const Array* x = plain_floats(given[0], 3, call.kind);
    if (!x || !little(x->dimensions[0], x->dimensions[1], x->dimensions[2])) return py::none();
    call.sequences = x->dimensions[0], call.length = x->dimensions[1], call.dim = x->dimensions[2];
    fec::Buffer<uint8_t> mask;
    fec::Precision precision = fec::Precision::f32;
    if ((given[1] && !plain(given[1], call.sequences, call.length, mask)) ||
        (given[2] && (!plain(given[2], pool_modes, call.mode) || call.mode == fec::PoolMode::attention)) ||
        (given[3] && !plain(given[3], call.normalize)) || !kept(given[4], call.dim) ||
        (given[5] && !plain(given[5], {"float32"}, precision)))
        return py::none();
    call.tokens = x->data, call.sequence_stride = x->strides[0], call.token_stride = x->strides[1];
    call.mask = given[1] ? mask.get() : nullptr;
    call.heads = 1, call.head_dim = call.dim, call.scale = 1;
    call.sink.dim = call.dim, call.sink.stride = call.dim * 4;
    const py::object made = empty(npy_api::NPY_FLOAT_, {call.sequences, call.dim}, call.sink.data);
    fec::pool(call, 1, nullptr);
    return made;
}

constexpr Signature<8> kTopk = {{"queries", "corpus", "k", "metric", "mask", "exclude", "out", "backend"}, 3, 4};
constexpr Signature<5> kSimilarity = {{"a", "b", "metric", "out", "backend"}, 3, 3};
constexpr Signature<5> kQuantize = {{"x", "precision", "ranges", "out", "backend"}, 2, 2};
constexpr Signature<13> kPool = {{"tokens", "mask", "mode", "normalize", "truncate_dim", "precision", "cu_seqlens", "query", "scale",
                                  "token_weights", "ranges", "out", "backend"},
                                 2,
                                 6};
constexpr Signature<5> kNormalize = {{"x", "truncate_dim", "eps", "out", "backend"}, 1, 3};

// An operation's name here, and its docstring: the first line is the signature, as pybind11 writes its own.
#define DIRECT(op, text) "direct_" #op, "direct_" #op "(*args: typing.Any, **kwargs: typing.Any) -> typing.Any\n\n" text

PyMethodDef methods[] = {
    method<8, kTopk, topk>(DIRECT(topk, "The k best rows for each query, or None.")),
    method<5, kSimilarity, similarity>(DIRECT(similarity, "The score of every pair, or None.")),
    method<5, kSimilarity, similarity_paired>(DIRECT(similarity_paired, "The score of the pairs (i, i), or None.")),
    method<5, kNormalize, normalize>(DIRECT(normalize, "Each row over its length, or None.")),
    method<5, kQuantize, quantize>(DIRECT(quantize, "The arguments of Codes, or None.")),
    method<13, kPool, pool>(DIRECT(pool, "A vector for each sequence, or None.")),
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void bind_direct(py::module_& m) {
    npy_api::get();
    if (PyModule_AddFunctions(m.ptr(), methods) != 0) throw py::error_already_set();
}

}  // namespace fec_bind
