#include "../cpu/pool.h"

#include "../core/thread_pool.h"

#include "bind.h"

namespace fec_bind {
namespace {

template <class T>
const T* data_of(const py::object& x) {
    return x.is_none() ? nullptr : static_cast<const T*>(py::cast<py::array>(x).data());
}

// tokens (B, T, D), or (total, D) with offsets; everything beside them lies densely.
void pool(const py::array& tokens, const std::string& kind, const py::object& mask, const py::object& weights, const py::object& offsets,
          const std::string& mode, const py::object& query, float scale, bool normalize, const std::string& precision, int64_t dim,
          const py::object& ranges, py::array out, const py::object& out_scale, int threads) {
    const int flat = offsets.is_none() ? 0 : 1;
    if (tokens.ndim() != 3 - flat || out.ndim() != 2) throw py::value_error("tokens: expected 3 dimensions, or 2 with offsets");
    const int64_t width = tokens.shape(2 - flat);
    fec::Pooling call{};
    call.tokens = static_cast<const char*>(tokens.data());
    call.kind = kind_of(kind);
    call.sequences = out.shape(0);
    call.length = flat ? 0 : tokens.shape(1);
    call.sequence_stride = flat ? 0 : tokens.strides(0);
    call.token_stride = tokens.strides(1 - flat);
    call.offsets = data_of<int64_t>(offsets);
    call.mask = data_of<uint8_t>(mask);
    call.token_weights = data_of<float>(weights);
    call.mode = named<fec::PoolMode>("mode", mode, pool_modes);
    call.query = data_of<float>(query);
    call.heads = 1, call.dim = call.head_dim = dim;
    if (call.query) {
        const py::array heads = py::cast<py::array>(query);
        call.heads = heads.shape(0), call.head_dim = heads.shape(1), call.dim = width;
        call.head_step = call.head_dim < width ? call.head_dim : 0;
    }
    call.scale = scale;
    call.normalize = normalize;
    float* scales = out_scale.is_none() ? nullptr : static_cast<float*>(py::cast<py::array>(out_scale).mutable_data());
    call.sink = {
        static_cast<char*>(out.mutable_data()), out.strides(0), dim, precision_of(precision), scales, data_of<float>(ranges), false};
    released([&](fec::Poll poll) { return fec::pool(call, threads, poll); });
}

}  // namespace

void bind_pool(py::module_& m) {
    m.def("pool", &pool, "One row for each sequence of token states into out, scales into out_scale; ranges are minimum and step.");
}

}  // namespace fec_bind
