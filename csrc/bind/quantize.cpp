#include "../cpu/quantize.h"

#include "../cpu/normalize.h"
#include "bind.h"

namespace fec_bind {
namespace {

fec::Rows floats_of(const py::array& data, const std::string& kind) {
    return rows_of(data, kind, data.ndim() == 2 ? data.shape(1) : 0, py::none(), py::none(), 0);
}

// The address of an output with a row of `bytes` for each of n.
char* output(py::array& out, int64_t n, int64_t bytes) {
    if (out.ndim() != 2 || out.shape(0) != n || out.shape(1) * out.itemsize() != bytes)
        throw py::value_error("out: expected " + std::to_string(n) + " rows of " + std::to_string(bytes) + " bytes");
    return static_cast<char*>(out.mutable_data());
}

}  // namespace

void bind_quantize(py::module_& m) {
    m.def(
        "normalize",
        [](const py::array& data, const std::string& kind, double eps, py::array out, int threads) {
            const fec::Rows x = floats_of(data, kind);
            const fec::UnitRows unit{output(out, x.n, x.dim * out.itemsize()), out.strides(0)};
            released([&](fec::Poll poll) { return fec::normalize(x, eps, unit, threads, poll); });
        },
        "Each row over the larger of its length and eps.");
    m.def(
        "quantize",
        [](const py::array& data, const std::string& kind, const std::string& precision, const py::object& limits, py::array codes,
           py::object scale, int threads) {
            const fec::Rows x = floats_of(data, kind);
            const fec::Precision target = precision_of(precision);
            fec::RowSink sink{nullptr, codes.strides(0), x.dim, target, nullptr, nullptr, false};
            sink.data = output(codes, x.n, fec::row_bytes(sink));
            if (!scale.is_none()) sink.scale = static_cast<float*>(py::array(scale).mutable_data());
            const float* found = floats(limits);
            released([&](fec::Poll poll) { return fec::quantize(x, sink, found, threads, poll); });
        },
        "Codes of float rows, and their scales; limits are the minimum and maximum of each dimension.");
    m.def(
        "dequantize",
        [](const py::array& data, const std::string& kind, int64_t dim, const py::object& scale, const py::object& ranges, int flip,
           py::array out, int threads) {
            const fec::Rows x = rows_of(data, kind, dim, scale, ranges, flip);
            char* values = output(out, x.n, dim * 4);
            const int64_t stride = out.strides(0);
            released([&](fec::Poll poll) { return fec::dequantize(x, values, stride, threads, poll); });
        },
        "The float32 values of codes; ranges are the minimum and step of each dimension.");
    m.def(
        "calibrate",
        [](const py::array& data, const std::string& kind, int threads) {
            const fec::Rows x = floats_of(data, kind);
            py::array_t<float> limits({int64_t{2}, x.dim});
            float* found = limits.mutable_data();
            released([&](fec::Poll poll) { return fec::calibrate(x, found, threads, poll); });
            return limits;
        },
        "The minimum and maximum of each dimension.");
}

}  // namespace fec_bind
