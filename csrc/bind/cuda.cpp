// The optional CUDA extension: pointers and streams as integers, so that nothing here knows whose tensors they are.
#include <pybind11/pybind11.h>

#include <string>

#include "../cuda/launch.h"
#include "named.h"

namespace py = pybind11;

namespace {

using fec_cuda::Search;
using fec_cuda::Stream;

template <class T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

fec_cuda::Matrix matrix(uintptr_t data, int64_t n, int64_t stride) { return {pointer<const unsigned char>(data), n, stride}; }

fec_cuda::Kind kind_of(const std::string& name) { return fec_bind::named<fec_cuda::Kind>("kind", name, {"f32", "f16", "bf16"}); }

}  // namespace

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
    m.doc() = "CUDA kernels of fastembed_core. Private: call fastembed_core's own functions.";
    m.attr("on_host") = fec_cuda::on_host;
    m.attr("targets") = fec_cuda::targets;
    m.attr("most") = fec_cuda::kMost;
    m.attr("most_bits") = fec_cuda::kMostBits;
    m.attr("most_floats") = fec_cuda::kMostFloats;
    m.attr("tensor_bits") = fec_cuda::kTensorBits;

    py::class_<Stream>(m, "Stream", "A device's number and the address of one of its streams.")
        .def(py::init([](int device, uintptr_t handle) { return Stream{device, pointer<void>(handle)}; }));

    py::class_<Search>(m, "Search", "Operands and results of a search; addresses are of the device, strides are bytes.")
        .def(py::init([](uintptr_t q, int64_t q_n, int64_t q_stride, uintptr_t x, int64_t x_n, int64_t x_stride, int64_t dim, int k,
                         uintptr_t mask, int64_t mask_stride, bool packed, uintptr_t exclude, int excluded, uintptr_t scores,
                         uintptr_t rows) {
                 const fec_cuda::Mask may{pointer<const unsigned char>(mask), mask_stride, packed, pointer<const int64_t>(exclude),
                                          excluded};
                 return Search{matrix(q, q_n, q_stride), matrix(x, x_n, x_stride), dim, k, may,
                               pointer<int32_t>(scores), pointer<int64_t>(rows)};
             }),
             py::kw_only(), py::arg("q"), py::arg("q_n"), py::arg("q_stride"), py::arg("x"), py::arg("x_n"), py::arg("x_stride"),
             py::arg("dim"), py::arg("k"), py::arg("mask"), py::arg("mask_stride"), py::arg("packed"), py::arg("exclude"),
             py::arg("excluded"), py::arg("scores"), py::arg("rows"));

    m.def("hamming_workspace", fec_cuda::hamming_workspace, py::arg("search"), py::arg("tensor"), py::arg("stream"),
          "Bytes of workspace that hamming_topk takes.");
    m.def(
        "hamming_topk",
        [](const Search& search, bool tensor, int flip, uintptr_t workspace, const Stream& stream) {
            fec_cuda::hamming_topk(search, tensor, flip, pointer<void>(workspace), stream);
        },
        py::arg("search"), py::arg("tensor"), py::arg("flip"), py::arg("workspace"), py::arg("stream"),
        "Top-k of packed bits; each byte of the queries is xor'ed with flip.");
    m.def("float_workspace", fec_cuda::float_workspace, py::arg("search"), py::arg("stream"), "Bytes of workspace that float_topk takes.");
    m.def(
        "float_topk",
        [](const Search& search, const std::string& queries, const std::string& corpus, const std::string& metric, uintptr_t workspace,
           const Stream& stream) {
            fec_cuda::float_topk(search, kind_of(queries), kind_of(corpus),
                                 fec_bind::named<fec_cuda::Metric>("metric", metric, {"ip", "cosine", "l2", "sqeuclidean"}),
                                 pointer<void>(workspace), stream);
        },
        py::arg("search"), py::arg("queries"), py::arg("corpus"), py::arg("metric"), py::arg("workspace"), py::arg("stream"),
        "Top-k of floats, by the canonical score of every row.");
}
