// Attention of drafted blocks: every block reads the context before its anchor, whose keys and values exist once per sequence, and its own slots; just
// these, so a block with a short prefix pays for a short one. The scores of one block and one head of keys are all that exists at a time; the gradient
// makes them anew. Scores and weights lie with the queries along the fast axis: `[keys, R]`, so that a softmax goes down columns.
#include <cmath>
#include <limits>

#include "exponential.h"
#include "operations.h"
#include "small-products.h"

namespace {

/** Sizes of one call. */
struct Sizes {
  int64_t batch, blocks, queries, heads, block_size, key_heads, context, head_dim;
  int64_t group() const { return heads / key_heads; }
  /** Queries of one block that share a head of keys. */
  int64_t rows() const { return group() * queries; }
  /** As `rows`, filled up to whole vectors. */
  int64_t padded() const { return (rows() + kLanes - 1) / kLanes * kLanes; }
};

struct Inputs {
  Array<const float> queries, block_keys, block_values, context_keys, context_values;
  Array<const int32_t> anchors;
  Sizes sizes;
};

/** queries `[B, N, Q, H, d]` (scaled), block keys and values `[B, N, K, Hkv, d]`, context keys and values `[B, Hkv, S, d]`, anchors `[B, N]`. */
bool read_inputs(Run& run, Inputs* in) {
  in->queries = run.floats(0);
  in->block_keys = run.floats(1);
  in->block_values = run.floats(2);
  in->context_keys = run.floats(3);
  in->context_values = run.floats(4);
  in->anchors = run.integers(5);
  const auto &q = in->queries.shape, &own = in->block_keys.shape, &context = in->context_keys.shape;
  if (!run.require(q.size() == 5 && own.size() == 5 && context.size() == 4, "block attention reads queries and block keys of rank 5 and context keys of rank 4")) return false;
  in->sizes = {q[0], q[1], q[2], q[3], own[2], own[3], context[2], q[4]};
  const Sizes& s = in->sizes;
  return run.require(own == std::vector<int64_t>{s.batch, s.blocks, s.block_size, s.key_heads, s.head_dim} &&
                         context == std::vector<int64_t>{s.batch, s.key_heads, s.context, s.head_dim} && in->block_values.shape == own &&
                         in->context_values.shape == context && in->anchors.shape == std::vector<int64_t>{s.batch, s.blocks},
                     "shapes of queries, keys, values and anchors of block attention disagree") &&
         run.require(s.key_heads > 0 && s.heads % s.key_heads == 0 && s.head_dim % kLanes == 0, "block attention needs whole groups of heads and a head dimension of whole vectors");
}

/** Where the data of one block and one head of keys lie. */
struct Place {
  int64_t query;        // first query, of [B, N, Q, H, d]
  int64_t query_row;    // from one slot's to the next
  int64_t own;          // first own key or value, of [B, N, K, Hkv, d]
  int64_t own_row;
  int64_t context;      // first context key or value, of [B, Hkv, S, d]
  int64_t statistics;   // first row, of [B, N, Q, H]
  int64_t prefix;       // context positions that are read
};

Place place_of(const Inputs& in, int64_t sequence, int64_t block, int64_t key_head) {
  const Sizes& s = in.sizes;
  const int64_t at = sequence * s.blocks + block;
  Place place;
  place.query = at * s.queries * s.heads * s.head_dim + key_head * s.group() * s.head_dim;
  place.query_row = s.heads * s.head_dim;
  place.own = at * s.block_size * s.key_heads * s.head_dim + key_head * s.head_dim;
  place.own_row = s.key_heads * s.head_dim;
  place.context = (sequence * s.key_heads + key_head) * s.context * s.head_dim;
  place.statistics = at * s.queries * s.heads + key_head * s.group();
  place.prefix = std::min<int64_t>(std::max<int64_t>(in.anchors.data[at], 0), s.context);
  return place;
}

/** Calls `each(row, offset of that row's d numbers, offset of its one statistic)` for the R queries of a place. */
template <typename Each>
void for_rows(const Sizes& s, const Place& place, Each each) {
  for (int64_t slot = 0; slot < s.queries; slot++) {
    for (int64_t head = 0; head < s.group(); head++) {
      each(slot * s.group() + head, place.query + slot * place.query_row + head * s.head_dim, place.statistics + slot * s.heads + head);
    }
  }
}

/** The R rows of a place as columns: `[d, padded R]`, zeros where there is no row. */
void gather_columns(const Sizes& s, const Place& place, const float* from, std::vector<float>& columns) {
  const int64_t padded = s.padded();
  columns.assign(s.head_dim * padded, 0.0f);
  for_rows(s, place, [&](int64_t row, int64_t at, int64_t) {
    for (int64_t i = 0; i < s.head_dim; i++) columns[i * padded + row] = from[at + i];
  });
}

/** The R rows of a place, one after the other: `[R, d]`. */
void gather_rows(const Sizes& s, const Place& place, const float* from, std::vector<float>& rows) {
  rows.resize(s.rows() * s.head_dim);
  for_rows(s, place, [&](int64_t row, int64_t at, int64_t) { std::copy_n(from + at, s.head_dim, rows.data() + row * s.head_dim); });
}

/** products `[prefix + K, padded R]` = (context rows, own rows) · columns `[d, padded R]`. */
void with_every_row(const Sizes& s, const Place& place, const float* context, const float* own, const std::vector<float>& columns, std::vector<float>& products) {
  const int64_t padded = s.padded();
  products.resize((s.context + s.block_size) * padded);
  multiply({context + place.context, s.head_dim, 1}, {columns.data(), padded}, {products.data(), padded}, place.prefix, padded, s.head_dim, false);
  multiply({own + place.own, place.own_row, 1}, {columns.data(), padded}, {products.data() + place.prefix * padded, padded}, s.block_size, padded, s.head_dim, false);
}

/** sums `[d, padded R]` = (context rows, own rows)ᵀ · weights `[prefix + K, padded R]`. */
void over_every_row(const Sizes& s, const Place& place, const float* context, const float* own, const std::vector<float>& weights, std::vector<float>& sums) {
  const int64_t padded = s.padded();
  sums.resize(s.head_dim * padded);
  multiply({context + place.context, 1, s.head_dim}, {weights.data(), padded}, {sums.data(), padded}, s.head_dim, padded, place.prefix, false);
  multiply({own + place.own, 1, place.own_row}, {weights.data() + place.prefix * padded, padded}, {sums.data(), padded}, s.head_dim, padded, s.block_size, true);
}

/** context and own rows of gradients, of `[B, Hkv, S, d]` (added to) and `[B, N, K, Hkv, d]` (written): weights `[prefix + K, R]` · rows `[R, d]`. */
void spread_to_every_row(const Sizes& s, const Place& place, const std::vector<float>& weights, const std::vector<float>& rows, float* context, float* own) {
  const int64_t padded = s.padded();
  multiply({weights.data(), padded, 1}, {rows.data(), s.head_dim}, {context + place.context, s.head_dim}, place.prefix, s.head_dim, s.rows(), true);
  multiply({weights.data() + place.prefix * padded, padded, 1}, {rows.data(), s.head_dim}, {own + place.own, place.own_row}, s.block_size, s.head_dim, s.rows(), false);
}

/** → attended `[B, N, Q, H, d]`, and the logarithm of each softmax's sum `[B, N, Q, H]`. */
void block_attention(Run& run) {
  Inputs in;
  if (!read_inputs(run, &in)) return;
  const Sizes& s = in.sizes;
  const auto attended = run.output(0, in.queries.shape);
  const auto log_sums = run.output(1, {s.batch, s.blocks, s.queries, s.heads});
  if (!run.ready()) return;
  const int64_t padded = s.padded();
  std::vector<float> columns, scores, values, peaks(padded), sums(padded);
  for (int64_t sequence = 0; sequence < s.batch; sequence++) {
    for (int64_t key_head = 0; key_head < s.key_heads; key_head++) {
      for (int64_t block = 0; block < s.blocks; block++) {
        const Place place = place_of(in, sequence, block, key_head);
        gather_columns(s, place, in.queries.data, columns);
        with_every_row(s, place, in.context_keys.data, in.block_keys.data, columns, scores);
        std::fill(peaks.begin(), peaks.end(), -std::numeric_limits<float>::infinity());
        std::fill(sums.begin(), sums.end(), 0.0f);
        float* peak = peaks.data();
        float* sum = sums.data();
        for (int64_t key = 0; key < place.prefix + s.block_size; key++) {
          const float* score = scores.data() + key * padded;
#pragma omp simd
          for (int64_t row = 0; row < padded; row++) peak[row] = score[row] > peak[row] ? score[row] : peak[row];
        }
        for (int64_t key = 0; key < place.prefix + s.block_size; key++) {
          float* score = scores.data() + key * padded;
#pragma omp simd
          for (int64_t row = 0; row < padded; row++) {
            score[row] = exponential(score[row] - peak[row]);
            sum[row] += score[row];
          }
        }
        over_every_row(s, place, in.context_values.data, in.block_values.data, scores, values);
        for_rows(s, place, [&](int64_t row, int64_t at, int64_t statistic) {
          const float factor = 1 / sum[row];
          for (int64_t i = 0; i < s.head_dim; i++) attended.data[at + i] = values[i * padded + row] * factor;
          log_sums.data[statistic] = peak[row] + std::log(sum[row]);
        });
      }
    }
  }
}

/** Inputs and outputs of `block_attention` and the gradient of what was attended → the gradients of queries, keys and values. */
void block_attention_gradient(Run& run) {
  Inputs in;
  if (!read_inputs(run, &in)) return;
  const Sizes& s = in.sizes;
  const auto attended = run.floats(6);
  const auto log_sums = run.floats(7);
  const auto dy = run.floats(8);
  if (!run.require(attended.shape == in.queries.shape && dy.size() == attended.size() && log_sums.size() * s.head_dim == attended.size(), "block attention's gradient has another shape than its queries")) return;
  const auto dqueries = run.output(0, in.queries.shape);
  const auto dblock_keys = run.output(1, in.block_keys.shape);
  const auto dblock_values = run.output(2, in.block_values.shape);
  const auto dcontext_keys = run.output(3, in.context_keys.shape);
  const auto dcontext_values = run.output(4, in.context_values.shape);
  if (!run.ready()) return;
  std::fill_n(dcontext_keys.data, dcontext_keys.size(), 0.0f);
  std::fill_n(dcontext_values.data, dcontext_values.size(), 0.0f);
  const int64_t padded = s.padded();
  std::vector<float> columns, query_rows, dy_columns, dy_rows, weights, slopes, dquery_columns, log_sum(padded), along(padded);
  for (int64_t sequence = 0; sequence < s.batch; sequence++) {
    for (int64_t key_head = 0; key_head < s.key_heads; key_head++) {
      for (int64_t block = 0; block < s.blocks; block++) {
        const Place place = place_of(in, sequence, block, key_head);
        gather_columns(s, place, in.queries.data, columns);
        gather_rows(s, place, in.queries.data, query_rows);
        gather_columns(s, place, dy.data, dy_columns);
        gather_rows(s, place, dy.data, dy_rows);
        std::fill(log_sum.begin(), log_sum.end(), 0.0f);
        std::fill(along.begin(), along.end(), 0.0f);
        for_rows(s, place, [&](int64_t row, int64_t at, int64_t statistic) {
          float product = 0;
#pragma omp simd reduction(+ : product)
          for (int64_t i = 0; i < s.head_dim; i++) product += dy.data[at + i] * attended.data[at + i];
          along[row] = product;
          log_sum[row] = log_sums.data[statistic];
        });
        with_every_row(s, place, in.context_keys.data, in.block_keys.data, columns, weights);
        with_every_row(s, place, in.context_values.data, in.block_values.data, dy_columns, slopes);
        // The softmax's gradient is p·(dp - Σ dy·attended).
        for (int64_t key = 0; key < place.prefix + s.block_size; key++) {
          float* weight = weights.data() + key * padded;
          float* slope = slopes.data() + key * padded;
#pragma omp simd
          for (int64_t row = 0; row < padded; row++) {
            weight[row] = exponential(weight[row] - log_sum[row]);
            slope[row] = weight[row] * (slope[row] - along[row]);
          }
        }
        spread_to_every_row(s, place, weights, dy_rows, dcontext_values.data, dblock_values.data);
        spread_to_every_row(s, place, slopes, query_rows, dcontext_keys.data, dblock_keys.data);
        over_every_row(s, place, in.context_keys.data, in.block_keys.data, slopes, dquery_columns);
        for_rows(s, place, [&](int64_t row, int64_t at, int64_t) {
          for (int64_t i = 0; i < s.head_dim; i++) dqueries.data[at + i] = dquery_columns[i * padded + row];
        });
      }
    }
  }
}

}  // namespace

std::string register_block_attention() {
  return register_operation<block_attention>(
             {"DraftalignBlockAttention",
              {"queries: float", "block_keys: float", "block_values: float", "context_keys: float", "context_values: float", "anchors: int32"},
              {"attended: float", "log_sums: float"},
              {},
              shapes_of_inputs<0, -1>}) +
         register_operation<block_attention_gradient>(
             {"DraftalignBlockAttentionGradient",
              {"queries: float", "block_keys: float", "block_values: float", "context_keys: float", "context_values: float", "anchors: int32", "attended: float",
               "log_sums: float", "dy: float"},
              {"dqueries: float", "dblock_keys: float", "dblock_values: float", "dcontext_keys: float", "dcontext_values: float"},
              {},
              shapes_of_inputs<0, 1, 2, 3, 4>});
}
