// The search kernels of one instruction set.
#include "canonical.inl.h"
#include "dots.inl.h"
#include "rowwise.inl.h"
#include "tiles.inl.h"

namespace {

const fec::SearchKernels search_kernels = {
    simd::W,
    simd::tile_vectors,
    simd::tile_rows,
    simd::dot_group,
    simd::dot_unsigned_panel,
    most_apart,
    most_by_rows,
    simd::halves_floats,
    widen_rows,
    code_rows,
    subtract,
    largest,
    squared_norm,
    square_sums,
    code_sums,
    code_squares,
    float_tiles<false>,
    float_tiles<true>,
    float_few<false>,
    float_one,
    float_few<true>,
    code_tiles,
    bit_tiles,
    dot_pairs,
    dot_rows,
    halve_query,
    code_dot_rows,
    nibble_dot_rows,
    sign_dot_rows,
    hamming_rows,
    filter_tile<float>,
    filter_tile<int32_t>,
    least_largest<float>,
    least_largest<int32_t>,
    filter_row_list<float>,
    filter_row_list<int32_t>,
    canonical,
};

}  // namespace
