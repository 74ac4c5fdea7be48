// The softmax over the whole vocabulary from hidden states and the head, on processors with AMX: logits exist for a few rows and a few tokens at a
// time, in the cache. The sum of weight · head row, which the gradients need, is made along with them.
#include "amx-tiles.h"
#include "operations.h"

#ifdef __AMX_BF16__
#include <cmath>
#include <limits>

#include "exponential.h"

namespace {

/** Tokens that are dealt with at a time: a multiple of kBlock whose packed head rows, both ways, stay in the second cache beside the hidden states. */
int64_t tokens_at_once(int64_t depth) { return std::clamp<int64_t>((384 << 10) / (depth * kParts * 4) / kBlock * kBlock, kBlock, 256); }

/**
 * hidden `[R, D]`, head `[V, D]`, listed `[R, L]` tokens → each row's largest logit `[R, 1]` and the first token that has it `[R]`; the listed logits
 * `[R, L]`; over the tokens not listed the sum of e^(logit - peak) `[R, 1]`, and that of e^(logit - peak) · head row `[R, D]` (only where `with_head`).
 */
void softmax_over_vocabulary(Run& run) {
  const auto hidden = run.floats(0);
  const auto head = run.floats(1);
  const auto listed = run.integers(2);
  if (!run.require(hidden.shape.size() == 2 && head.shape.size() == 2 && listed.shape.size() == 2 && hidden.width() == head.width() && listed.rows() == hidden.rows(),
                   "hidden states, head and listed tokens have shapes that disagree")) return;
  const int64_t rows = hidden.rows(), depth = hidden.width(), vocabulary = head.rows(), count = listed.width();
  const bool with_head = run.attributes.with_head;
  const auto peaks = run.output(0, {rows, 1});
  const auto best = run.integer_output(1, {rows});
  const auto listed_logits = run.output(2, listed.shape);
  const auto sums = run.output(3, {rows, 1});
  const auto sums_of_head = run.output(4, {with_head ? rows : 0, depth});
  if (!run.ready()) return;

  const int64_t tokens = tokens_at_once(depth);
  const int64_t blocks = (rows + kBlock - 1) / kBlock, depth_blocks = (depth + kBlock - 1) / kBlock, token_blocks = tokens / kBlock;
  const int64_t steps = (depth + kDepth - 1) / kDepth, token_steps = tokens / kDepth;
  const int64_t hidden_size = steps * 2 * kParts * kTile, weight_size = token_steps * 2 * kParts * kTile;
  uint16_t* const packed_hidden = scratch<1>(blocks * hidden_size + token_blocks * hidden_size + (depth_blocks + 1) * weight_size + 2 * kBlock * (tokens + kBlock));
  if (!run.require(packed_hidden != nullptr, "no memory for the softmax over the vocabulary")) return;
  uint16_t* const packed_head = packed_hidden + blocks * hidden_size;
  uint16_t* const packed_across = packed_head + token_blocks * hidden_size;
  uint16_t* const packed_weights = packed_across + depth_blocks * weight_size;
  float* const logits = reinterpret_cast<float*>(packed_weights + weight_size);
  float* const edge = logits + kBlock * tokens;

  const Tiles tiles;
  for (int64_t block = 0; block < blocks; block++) pack_block({hidden.data, depth, true, rows}, block * kBlock, 0, depth, false, packed_hidden + block * hidden_size);
  std::fill_n(peaks.data, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(sums.data, rows, 0.0f);
  std::fill_n(best.data, rows, 0);
  std::fill_n(listed_logits.data, listed_logits.size(), 0.0f);
  std::fill_n(sums_of_head.data, sums_of_head.size(), 0.0f);

  for (int64_t start = 0; start < vocabulary; start += tokens) {
    const int64_t width = std::min(tokens, vocabulary - start);
    const Operand own_head = {head.data + start * depth, depth, true, width};
    for (int64_t block = 0; block * kBlock < width; block++) pack_block(own_head, block * kBlock, 0, depth, true, packed_head + block * hidden_size);
    if (with_head) {
      for (int64_t block = 0; block < depth_blocks; block++) pack_block({own_head.data, depth, false, depth}, block * kBlock, 0, width, true, packed_across + block * weight_size);
    }
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t first_row = block * kBlock, own_rows = std::min<int64_t>(kBlock, rows - first_row);
      for (int64_t at = 0; at < width; at += kBlock) {
        multiply_block(packed_hidden + block * hidden_size, packed_head + at / kBlock * hidden_size, steps, false, logits + at, tokens);
      }
      for (int64_t i = 0; i < own_rows; i++) {
        const int64_t row = first_row + i;
        float* logit = logits + i * tokens;
        float peak = peaks.data[row];
#pragma omp simd reduction(max : peak)
        for (int64_t t = 0; t < width; t++) peak = logit[t] > peak ? logit[t] : peak;
        const float before = peaks.data[row];
        if (peak > before) {
          int64_t first = 0;
          while (first < width - 1 && logit[first] < peak) first++;
          best.data[row] = static_cast<int32_t>(start + first);
          peaks.data[row] = peak;
          const float shrink = exponential(before - peak);
          sums.data[row] *= shrink;
          if (with_head) {
            float* sum = sums_of_head.data + row * depth;
#pragma omp simd
            for (int64_t d = 0; d < depth; d++) sum[d] *= shrink;
          }
        }
        const int32_t* listed_token = listed.data + row * count;
        const uint32_t from = static_cast<uint32_t>(start), here = static_cast<uint32_t>(width);
        uint32_t any = 0;
#pragma omp simd reduction(| : any)
        for (int64_t k = 0; k < count; k++) any |= static_cast<uint32_t>(listed_token[k]) - from < here;
        if (any != 0) {
          for (int64_t k = 0; k < count; k++) {
            const uint32_t column = static_cast<uint32_t>(listed_token[k]) - from;
            if (column < here) listed_logits.data[row * count + k] = logit[column];
          }
          for (int64_t k = 0; k < count; k++) {
            const uint32_t column = static_cast<uint32_t>(listed_token[k]) - from;
            if (column < here) logit[column] = -std::numeric_limits<float>::infinity();  // a weight of 0
          }
        }
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t t = 0; t < width; t++) {
          logit[t] = exponential(logit[t] - peak);
          sum += logit[t];
        }
        sums.data[row] += sum;
      }
      if (!with_head) continue;
      pack_block({logits, tokens, true, own_rows}, 0, 0, width, false, packed_weights);
      for (int64_t at = 0; at < depth; at += kBlock) {
        const Target to = {sums_of_head.data + first_row * depth + at, depth, own_rows, depth - at};
        multiply_to(packed_weights, packed_across + at / kBlock * weight_size, (width + kDepth - 1) / kDepth, true, to, edge);
      }
    }
  }
}

}  // namespace

std::string register_softmax_over_vocabulary() {
  return register_operation<softmax_over_vocabulary>({"DraftalignSoftmaxOverVocabulary",
                                                      {"hidden: float", "head: float", "listed: int32"},
                                                      {"peaks: float", "best: int32", "listed_logits: float", "sums: float", "sums_of_head: float"},
                                                      {"with_head: bool"},
                                                      shapes_of_inputs<-1, -1, 2, -1, -1>});
}
#else
std::string register_softmax_over_vocabulary() { return ""; }
#endif
