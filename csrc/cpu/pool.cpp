#include "pool.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "../core/buffer.h"
#include "../core/fp_state.h"
#include "../core/thread_pool.h"
#include "dispatch.h"
#include "quantize.h"

namespace fec {
namespace {

constexpr int64_t serial_bytes = int64_t{2} << 20;   // below this a second thread costs more than it saves
constexpr int64_t task_bytes = int64_t{1} << 20;     // of tokens handed to a thread at a time, in whole sequences
constexpr int64_t partial_bytes = int64_t{32} << 20;  // of span states held at a time where sequences are split

// The queries as the kernels read them: on cache lines, zeros behind each.
Buffer<float> aligned_queries(const Pooling& given) {
    const int64_t width = given.padded_dim();
    Buffer<float> out(given.query ? given.heads * width : 0);
    if (!given.query) return out;
    std::fill(out.get(), out.get() + given.heads * width, 0.0f);
    for (int64_t h = 0; h < given.heads; ++h)
        std::copy(given.query + h * given.head_dim, given.query + (h + 1) * given.head_dim, out.get() + h * width);
    return out;
}

int64_t element_bytes(Kind kind) { return kind == Kind::f32 ? 4 : kind == Kind::f64 ? 8 : 2; }

// Elements before the first cache line that begins in a token, where they are as many in every token. The order of a score's additions
// must not depend on where tokens lie.
int64_t lead(const Pooling& call) {
    constexpr int64_t line = 64;
    const int64_t apart = -reinterpret_cast<int64_t>(call.tokens) & (line - 1), size = element_bytes(call.kind);
    const bool alike = call.token_stride % line == 0 && (call.offsets || call.sequence_stride % line == 0) && apart % size == 0;
    return call.mode != PoolMode::attention && alike && apart / size < call.dim ? apart / size : 0;
}

// Room for states one after another, each with its cache lines where the tokens have theirs.
class States {
public:
    explicit States(const Pooling& call, int64_t n = 1) : room_(n * call.state_floats() + 16), first_(room_.get() + (-call.lead & 15)) {}
    float* get() { return first_; }

private:
    Buffer<float> room_;
    float* first_;
};

bool weighted(const Pooling& call) { return call.token_weights || call.mode == PoolMode::weightedmean; }

// The valid tokens of one sequence, in order.
class Walk {
public:
    Walk(const Pooling& call, int64_t sequence) : call_(call) {
        const int64_t start = call.offsets ? call.offsets[sequence] : sequence * call.length;
        length_ = call.offsets ? call.offsets[sequence + 1] - start : call.length;
        data_ = call.tokens + (call.offsets ? start * call.token_stride : sequence * call.sequence_stride);
        mask_ = call.mask ? call.mask + start : nullptr;
        weights_ = call.token_weights ? call.token_weights + start : nullptr;
        while (mask_ && first_ < length_ && !mask_[first_]) ++first_;
        position_ = first_;
    }
    Walk(const Walk& other, int64_t position) : Walk(other) { position_ = position; }

    const char* token(int64_t position) const { return data_ + position * call_.token_stride; }
    const char* first() const { return token(first_); }
    int64_t position() const { return position_; }
    bool done() const { return position_ >= length_; }

    // The next valid tokens, at most span_tokens, as positions; where the walk stands then is past them.
    int64_t take(int64_t* positions) {
        int64_t n = 0;
        if (!mask_) {
            n = std::min(span_tokens, length_ - position_);
            for (int64_t i = 0; i < n; ++i) positions[i] = position_ + i;
            position_ += n;
            return n;
        }
        for (; position_ < length_ && n < span_tokens; ++position_) {
            positions[n] = position_;
            n += mask_[position_] != 0;
        }
        while (position_ < length_ && !mask_[position_]) ++position_;
        return n;
    }

    int64_t last() const {
        int64_t t = length_ - 1;
        while (mask_ && t > first_ && !mask_[t]) --t;
        return t;
    }

    float weight(int64_t position) const {
        const float own = weights_ ? weights_[position] : 1.0f;
        return call_.mode == PoolMode::weightedmean ? own * static_cast<float>(1 + position - first_) : own;
    }

private:
    const Pooling& call_;
    const char* data_;
    const uint8_t* mask_;
    const float* weights_;
    int64_t length_, first_ = 0, position_;
};

// What one worker needs to turn tokens into a state.
struct Scratch {
    explicit Scratch(const Pooling& call) : state(call), partial(call), leaf(call) {}

    // Pools the walk's next span into `to`; adds its valid tokens and their weights to the totals.
    void span(const Pooling& call, Walk& walk, const char* next, float* to, int64_t& valid, double& weight) {
        const int64_t n = walk.take(positions);
        for (int64_t i = 0; i < n; ++i) tokens[i] = walk.token(positions[i]);
        double sum = static_cast<double>(n);
        if (weighted(call)) {
            sum = 0;
            for (int64_t i = 0; i < n; ++i) sum += weights[i] = walk.weight(positions[i]);
        }
        const Span span{tokens, weighted(call) ? weights : nullptr, n, walk.done() ? next : walk.token(walk.position())};
        kernels().pool.span[static_cast<int>(call.kind)](call, span, to, leaf.get());
        valid += n;
        weight += sum;
    }

    States state, partial, leaf;
    int64_t positions[span_tokens];
    const char* tokens[span_tokens];
    float weights[span_tokens];
};

void pool_one(const Pooling& call, Scratch& scratch, int64_t sequence, const char* next) {
    Walk walk(call, sequence);
    int64_t valid = 0;
    double weight = 0;
    if (call.mode == PoolMode::cls || call.mode == PoolMode::lasttoken) {
        if (!walk.done()) {
            const char* token = call.mode == PoolMode::cls ? walk.first() : walk.token(walk.last());
            kernels().pool.span[static_cast<int>(call.kind)](call, {&token, nullptr, 1, next}, scratch.state.get(), nullptr);
            valid = 1;
        }
    } else if (!walk.done()) {
        scratch.span(call, walk, next, scratch.state.get(), valid, weight);
        while (!walk.done()) {
            scratch.span(call, walk, next, scratch.partial.get(), valid, weight);
            kernels().pool.merge(call, scratch.state.get(), scratch.partial.get());
        }
    }
    kernels().pool.finish(call, scratch.state.get(), valid, weight, sequence);
}

// Workers' scratch, made by each on first use.
class Workers {
public:
    Workers(const Pooling& call, int threads) : call_(call), scratch_(threads) {}
    Scratch& operator[](int worker) {
        if (!scratch_[worker]) scratch_[worker] = std::make_unique<Scratch>(call_);
        return *scratch_[worker];
    }

private:
    const Pooling& call_;
    std::vector<std::unique_ptr<Scratch>> scratch_;
};

bool pool_whole(const Pooling& call, int64_t bytes, int threads, Poll poll) {
    Workers workers(call, threads);
    // Neighbours go to one thread, so that the end of one sequence fetches the start of the next.
    const int64_t group = 1 + task_bytes * call.sequences / std::max(bytes, task_bytes);
    return parallel_for((call.sequences + group - 1) / group, threads,
                        [&](int64_t task, int worker) {
                            const int64_t end = std::min(call.sequences, (task + 1) * group);
                            for (int64_t b = task * group; b < end; ++b) {
                                const char* next = Walk(call, std::min(b + 1, call.sequences - 1)).first();
                                pool_one(call, workers[worker], b, next);
                            }
                        },
                        poll);
}

// Few long sequences: threads share the spans, whose states are merged in order, as pool_one does.
bool pool_split(const Pooling& call, int threads, Poll poll) {
    struct Part {
        int64_t sequence, position, valid;
        double weight;
    };
    std::vector<Walk> walks;
    std::vector<Part> parts;
    std::vector<int64_t> positions(span_tokens);
    for (int64_t b = 0; b < call.sequences; ++b) {
        walks.emplace_back(call, b);
        Walk walk = walks.back();
        do {
            parts.push_back({b, walk.position(), 0, 0});
            walk.take(positions.data());
        } while (!walk.done());
    }
    const int64_t width = call.state_floats();
    const int64_t window = std::max<int64_t>(1, partial_bytes / (width * static_cast<int64_t>(sizeof(float))));
    const int64_t total = static_cast<int64_t>(parts.size());
    States states(call, std::min(window, total)), state(call);
    Workers workers(call, threads);
    int64_t valid = 0;
    double weight = 0;
    for (int64_t begin = 0; begin < total; begin += window) {
        const int64_t end = std::min(total, begin + window);
        const bool whole = parallel_for(
            end - begin, threads,
            [&](int64_t i, int worker) {
                Part& part = parts[begin + i];
                Walk walk(walks[part.sequence], part.position);
                if (walk.done()) return;
                workers[worker].span(call, walk, walk.first(), states.get() + i * width, part.valid, part.weight);
            },
            poll);
        if (!whole) return false;
        for (int64_t i = begin; i < end; ++i) {
            const float* next = states.get() + (i - begin) * width;
            if (!valid)
                std::copy(next, next + width, state.get());
            else
                kernels().pool.merge(call, state.get(), next);
            valid += parts[i].valid;
            weight += parts[i].weight;
            if (i + 1 < total && parts[i + 1].sequence == parts[i].sequence) continue;
            kernels().pool.finish(call, state.get(), valid, weight, parts[i].sequence);
            valid = 0, weight = 0;
        }
    }
    return true;
}

}  // namespace

bool pool(const Pooling& given, int threads, Poll poll) {
    FpState ieee;
    Pooling call = given;
    call.lead = lead(given);
    const Buffer<float> queries = aligned_queries(given);
    call.query = queries.get();
    Buffer<float> ranges;
    if (call.sink.ranges) {
        ranges = with_inverses(call.sink.ranges, call.sink.dim);
        call.sink.ranges = ranges.get();
    }
    const bool one_token = call.mode == PoolMode::cls || call.mode == PoolMode::lasttoken;
    const int64_t given_tokens = call.offsets ? call.offsets[call.sequences] : call.sequences * call.length;
    const int64_t tokens = one_token ? std::min(call.sequences, given_tokens) : given_tokens;
    const int64_t bytes = tokens * call.dim * element_bytes(call.kind);
    if (bytes < serial_bytes) threads = 1;
    const bool few_and_long = call.sequences < 4 * threads && tokens > 2 * span_tokens * call.sequences;
    return few_and_long ? pool_split(call, threads, poll) : pool_whole(call, bytes, threads, poll);
}

}  // namespace fec
