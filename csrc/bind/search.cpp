#include "../cpu/coded.h"

#include "operand.h"

namespace fec_bind {
namespace {

// Codes beside float rows, as Python holds them.
struct Codings {
    explicit Codings(const py::object& scans) {
        for (const py::handle& each : scans) {
            const auto parts = py::cast<py::tuple>(each);
            arrays_.push_back(parts);
            const auto& codes = parts[0].cast<const Operand&>();
            views.push_back({codes.rows, floats(parts[1]), floats(parts[2]), floats(parts[3]), floats(parts[4])});
        }
    }

private:
    std::vector<py::tuple> arrays_;

public:
    std::vector<fec::Coded> views;
};

}  // namespace

void bind_search(py::module_& m) {
    py::class_<Operand>(m, "Rows", "An operand of a search: arrays and how to read them.")
        .def(py::init<py::array, const std::string&, int64_t, py::object, py::object, int>(), py::arg("data"), py::arg("kind"),
             py::arg("dim"), py::arg("scale") = py::none(), py::arg("ranges") = py::none(), py::arg("flip") = 0);

    m.def(
        "topk",
        [](const Operand& q, const Operand& x, int64_t k, const std::string& metric, const std::string& form, const py::object& mask,
           bool packed, const py::object& exclude, int threads, py::array scores, py::array_t<int64_t> indices, const py::object& scans) {
            const fec::Pair pair = pair_of(q, x, metric, form);
            const fec::Allowed allowed = allowed_of(mask, packed, exclude);
            const Codings coded(scans);
            void* to = scores.mutable_data();
            int64_t* rows = indices.mutable_data();
            fec::SearchStats stats;
            released([&](fec::Poll poll) {
                return fec::topk(pair, coded.views.data(), static_cast<int>(coded.views.size()), k, allowed, threads, poll, to, rows,
                                 stats);
            });
            return py::make_tuple(stats.scanned, stats.rescored, stats.scan);
        },
        "The k best rows for each query; rows scanned, rows scored canonically, and which scan came last.", py::arg("q"), py::arg("x"),
        py::arg("k"), py::arg("metric"), py::arg("form"), py::arg("mask"), py::arg("packed"), py::arg("exclude"), py::arg("threads"),
        py::arg("scores"), py::arg("indices"), py::arg("scans") = py::tuple());
    m.def(
        "code_center",
        [](const Operand& x, const std::string& metric, py::array_t<float> center) {
            float* to = center.mutable_data();
            released([&](fec::Poll) {
                fec::code_center(x.rows, metric_of(metric), to);
                return true;
            });
        },
        "The mean of a sample of rows, of their directions under cosine.");
    m.def(
        "encode",
        [](const Operand& x, const std::string& metric, bool nibbles, const py::array_t<float>& center, int threads, py::array codes,
           py::array_t<float> scale, py::array_t<float> error, py::array_t<float> norm, py::object bias) {
            const fec::CodedOut out = {static_cast<char*>(codes.mutable_data()),
                                       codes.strides(0),
                                       nibbles,
                                       scale.mutable_data(),
                                       error.mutable_data(),
                                       norm.mutable_data(),
                                       bias.is_none() ? nullptr : py::cast<py::array_t<float>>(bias).mutable_data(),
                                       center.data()};
            released([&](fec::Poll poll) { return fec::encode(x.rows, metric_of(metric), threads, poll, out); });
        },
        "Codes of float rows for scans.");
    m.def(
        "rescore",
        [](const Operand& q, const Operand& x, const py::array_t<int64_t>& ids, int64_t k, const std::string& metric,
           const std::string& form, int threads, py::array scores, py::array_t<int64_t> indices) {
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

}  // namespace fec_bind
