// Bags of rows of a table on the level in use, every storage kind and mode, against float64 sums in the ids' order.
#include "../cpu/bag.h"

#include <cmath>

#include "operand.h"

namespace fec {
namespace test {

void check_bag();

namespace {

// What element d of a bag is before it is normalized, and how far float32 sums may be from it.
double element(const Bagging& call, const Operand& table, int64_t b, int64_t d, double& tolerance) {
    double sum = 0, size = 0, total = 0, most = -INFINITY;
    tolerance = 0;
    for (int64_t at = call.offsets[b]; at < call.offsets[b + 1]; ++at) {
        const double w = call.weights ? static_cast<double>(call.weights[at]) : 1.0;
        const double x = w * table.scale_of(call.ids[at]) * static_cast<double>(static_cast<float>(table.value(call.ids[at])[d]));
        sum += x, size += std::fabs(x), total += w, most = std::fmax(most, x);
    }
    const auto n = static_cast<double>(call.offsets[b + 1] - call.offsets[b]);
    if (n == 0) return 0;
    if (call.mode == BagMode::max) {
        tolerance = std::fabs(most) * 0x1p-22;  // weight and scale are each multiplied by once
        return most;
    }
    const double divisor = call.mode == BagMode::mean ? total : 1;
    tolerance = (n + 8) * 0x1p-24 * size / divisor;
    return sum / divisor;
}

void check_call(Bagging call, const Operand& table) {
    const int64_t dim = call.table.dim, stride = dim * 4 + 4;
    char* out = static_cast<char*>(guarded(3, static_cast<size_t>(stride * (call.bags - 1) + dim * 4)));
    call.sink = {out, stride, dim, Precision::f32, nullptr, nullptr, false};
    embedding_bag(call, 2, nullptr);
    std::vector<double> want(static_cast<size_t>(dim)), tolerance(want);
    for (int64_t b = 0; b < call.bags; ++b) {
        double square = 0, error = 0;
        for (int64_t d = 0; d < dim; ++d) {
            const auto at = static_cast<size_t>(d);
            want[at] = element(call, table, b, d, tolerance[at]);
            square += want[at] * want[at], error += tolerance[at] * tolerance[at];
        }
        // The elements' errors move the norm by at most their own.
        const double norm = call.normalize ? std::fmax(std::sqrt(square), 1e-12) : 1.0,
                     moved = call.normalize ? std::sqrt(error) / norm : 0.0;
        for (int64_t d = 0; d < dim; ++d) {
            const auto at = static_cast<size_t>(d);
            const double slack = call.normalize ? (moved + 0x1p-22) * std::fabs(want[at] / norm) : 0.0;
            expect_near("bag", dim, static_cast<double>(reinterpret_cast<const float*>(out + b * stride)[d]), want[at] / norm,
                        (tolerance[at] / norm + slack) * 1.01);
        }
    }
}

void check_table(const Operand& table) {
    // Bags of nothing, of one, of a leaf and one more; ids in any order, repeated, the table's last row among them.
    const std::vector<int64_t> offsets = {0, 0, 1, 4, 4 + bag_leaf, 5 + 2 * bag_leaf, 5 + 2 * bag_leaf};
    std::vector<int64_t> ids;
    std::vector<float> weights;
    for (int64_t i = 0; i < offsets.back(); ++i) {
        ids.push_back(i % 3 ? random_in(0, static_cast<int>(table.rows.n) - 1) : table.rows.n - 1);
        weights.push_back(static_cast<float>(random_in(1, 100)) / 64);
    }
    for (const BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max}) {
        Bagging call = {table.rows, ids.data(), offsets.data(), static_cast<int64_t>(offsets.size()) - 1, nullptr, mode, false, {}, 0};
        check_call(call, table);
        call.weights = weights.data();
        check_call(call, table);
        call.normalize = true;
        check_call(call, table);
    }
}

}  // namespace

void check_bag() {
    for (const int64_t dim : {1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129, 257}) {
        for (const Kind kind : {Kind::f32, Kind::f16, Kind::bf16, Kind::i8, Kind::i4})
            check_table(Operand(kind, 9, dim, 2, kind == Kind::i8 || kind == Kind::i4));
        for (const Kind kind : {Kind::i8, Kind::u8}) check_table(Operand(kind, 9, dim, 2, false, true));
    }
}

}  // namespace test
}  // namespace fec
