// Top-k of few floats in one launch: the canonical score of every row, float64 in eight lanes, fusion off.
#include "scan.h"

namespace fec_cuda {
namespace {

enum class Form { dot, cosine, difference };

__device__ float value_of(const unsigned char* at, int64_t i, Kind kind) {
    if (kind == Kind::f32) return reinterpret_cast<const float*>(at)[i];
    const uint16_t bits = reinterpret_cast<const uint16_t*>(at)[i];
    return kind == Kind::f16 ? half_value(bits) : float_of(static_cast<uint32_t>(bits) << 16);
}

template <Kind kind, Form form>
class FloatScorer {
public:
    static constexpr int tile = 1, resident = 3;

    FloatScorer(const Search& search, Kind queries, Metric metric)
        : q_(search.queries), x_(search.corpus), dim_(static_cast<int>(search.dim)), queries_(queries), root_(metric == Metric::l2) {}

    size_t shared() const { return dim_ * sizeof(double); }

    __device__ void prepare(int64_t first, int64_t, char* memory) {
        values_ = reinterpret_cast<double*>(memory);
        for (int i = threadIdx.x; i < dim_; i += kThreads) values_[i] = value_of(q_.data + first * q_.stride, i, queries_);
        __syncthreads();
        double squares = 0;
        if (form == Form::cosine)
            for (int i = threadIdx.x % kLanes; i < dim_; i += kLanes) squares += values_[i] * values_[i];
        norm_ = sqrt(tree(squares));
    }

    __device__ void ranks(const int64_t (&rows)[kRows], uint32_t (&out)[kRows][1]) const {
        double sum[kRows] = {}, squares[kRows] = {};
#pragma unroll 4
        for (int i = threadIdx.x % kLanes; i < dim_; i += kLanes) {
            const double a = values_[i];
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                const double b = value_of(x_.data + rows[r] * x_.stride, i, kind);
                const double difference = a - b;
                sum[r] += form == Form::difference ? difference * difference : a * b;
                if (form == Form::cosine) squares[r] += b * b;
            }
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            double value = tree(sum[r]);
            if (form == Form::cosine) {
                const double norms = norm_ * sqrt(tree(squares[r]));
                value = value / (norms == 0 ? 1 : norms);  // a zero row: its product is zero too, or NaN
            } else if (form == Form::difference && root_) {
                value = sqrt(value);
            }
            out[r][0] = rank(static_cast<float>(value) + 0.0f);  // no -0
        }
    }

    __device__ int32_t score(uint32_t rank) const {
        if (rank == nan_rank) return 0x7FC00000;
        const int32_t key = static_cast<int32_t>(similarity ? ~rank : rank) ^ INT32_MIN;
        return key ^ ((key >> 31) & INT32_MAX);
    }
    __device__ int32_t unfilled() const { return similarity ? 0xFF800000 : 0x7F800000; }

private:
    static constexpr bool similarity = form != Form::difference;
    static constexpr uint32_t nan_rank = 0xFFFFFFFE;

    // ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7)), whichever lane asks.
    __device__ static double tree(double lane) {
        for (int bits = kLanes / 2; bits; bits /= 2) lane += shuffle_xor(lane, bits);
        return lane;
    }

    // float32 as an unsigned integer in the same order, the best first, NaN last.
    __device__ static uint32_t rank(float score) {
        const int32_t bits = static_cast<int32_t>(bits_of(score));
        const uint32_t ordered = static_cast<uint32_t>(bits ^ ((bits >> 31) & INT32_MAX) ^ INT32_MIN);
        return score != score ? nan_rank : similarity ? ~ordered : ordered;
    }

    Matrix q_, x_;
    int dim_;
    Kind queries_;
    bool root_;
    double* values_ = nullptr;
    double norm_ = 0;
};

static_assert(Reservoir::bytes(Reservoir::capacity_for(kMost, kRound)) + kMostFloats * sizeof(double) <= kShared, "a block's memory");

template <Kind kind>
void scan_of(const Search& search, Kind queries, Metric metric, void* workspace, Stream stream) {
    const auto run = [&](auto scorer) { scan(scorer, search, workspace, stream); };
    if (metric == Metric::ip) run(FloatScorer<kind, Form::dot>(search, queries, metric));
    if (metric == Metric::cosine) run(FloatScorer<kind, Form::cosine>(search, queries, metric));
    if (metric == Metric::l2 || metric == Metric::sqeuclidean) run(FloatScorer<kind, Form::difference>(search, queries, metric));
}

}  // namespace

size_t float_workspace(const Search& search, const Stream& stream) {
    use(stream);
    return plan_of<FloatScorer<Kind::f32, Form::dot>>(search, stream).workspace();  // as of every other kind and form
}

void float_topk(const Search& search, Kind queries, Kind corpus, Metric metric, void* workspace, const Stream& stream) {
    use(stream);
    if (corpus == Kind::f32) scan_of<Kind::f32>(search, queries, metric, workspace, stream);
    if (corpus == Kind::f16) scan_of<Kind::f16>(search, queries, metric, workspace, stream);
    if (corpus == Kind::bf16) scan_of<Kind::bf16>(search, queries, metric, workspace, stream);
}

}  // namespace fec_cuda
