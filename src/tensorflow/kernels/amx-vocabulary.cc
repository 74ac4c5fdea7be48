// The softmax over the whole vocabulary on processors with AMX.
#include "amx-tiles.h"
#include "vocabulary-sums.h"

#ifdef __AMX_BF16__
#include <cmath>
#include <limits>

#include "exponential.h"

namespace {

/** Tokens that are dealt with at a time: a multiple of kBlock whose packed head rows, both ways, stay in the second cache beside the hidden states. */
int64_t tokens_at_once(int64_t depth) { return std::clamp<int64_t>((384 << 10) / (depth * kParts * 4) / kBlock * kBlock, kBlock, 256); }

void softmax_over_vocabulary(Run& run) {
  VocabularySums all;
  if (!all.begin(run)) return;
  const int64_t rows = all.rows, depth = all.depth;
  const int64_t tokens = tokens_at_once(depth);
  const int64_t blocks = (rows + kBlock - 1) / kBlock, depth_blocks = (depth + kBlock - 1) / kBlock, token_blocks = tokens / kBlock;
  const int64_t steps = (depth + kDepth - 1) / kDepth, token_steps = tokens / kDepth;
  const int64_t hidden_size = steps * 2 * kParts * kTile, weight_size = token_steps * 2 * kParts * kTile;
  uint16_t* const packed_hidden = scratch<1, uint16_t>(blocks * hidden_size + token_blocks * hidden_size + (depth_blocks + 1) * weight_size + 2 * kBlock * (tokens + kBlock));
  if (!run.require(packed_hidden != nullptr, "no memory for the softmax over the vocabulary")) return;
  uint16_t* const packed_head = packed_hidden + blocks * hidden_size;
  uint16_t* const packed_across = packed_head + token_blocks * hidden_size;
  uint16_t* const packed_weights = packed_across + depth_blocks * weight_size;
  float* const logits = reinterpret_cast<float*>(packed_weights + weight_size);
  float* const edge = logits + kBlock * tokens;

  const Tiles tiles;
  for (int64_t block = 0; block < blocks; block++) pack_block({all.hidden.data, depth, true, rows}, block * kBlock, 0, depth, false, packed_hidden + block * hidden_size);

  for (int64_t start = 0; start < all.vocabulary; start += tokens) {
    const int64_t width = std::min(tokens, all.vocabulary - start);
    const Operand own_head = {all.head.data + start * depth, depth, true, width};
    for (int64_t block = 0; block * kBlock < width; block++) pack_block(own_head, block * kBlock, 0, depth, true, packed_head + block * hidden_size);
    if (all.with_head) {
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
        float peak = all.peaks.data[row];
#pragma omp simd reduction(max : peak)
        for (int64_t t = 0; t < width; t++) peak = logit[t] > peak ? logit[t] : peak;
        const float before = all.peaks.data[row];
        if (peak > before) {
          int64_t first = 0;
          while (first < width - 1 && logit[first] < peak) first++;
          all.best.data[row] = static_cast<int32_t>(start + first);
          all.peaks.data[row] = peak;
          const float shrink = exponential(before - peak);
          all.sums.data[row] *= shrink;
          if (all.with_head) {
            float* sum = all.sums_of_head.data + row * depth;
#pragma omp simd
            for (int64_t d = 0; d < depth; d++) sum[d] *= shrink;
          }
        }
        all.take_out_listed(row, start, width, logit, 1);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t t = 0; t < width; t++) {
          logit[t] = exponential(logit[t] - peak);
          sum += logit[t];
        }
        all.sums.data[row] += sum;
      }
      if (!all.with_head) continue;
      pack_block({logits, tokens, true, own_rows}, 0, 0, width, false, packed_weights);
      for (int64_t at = 0; at < depth; at += kBlock) {
        const Target to = {all.sums_of_head.data + first_row * depth + at, depth, own_rows, depth - at};
        multiply_to(packed_weights, packed_across + at / kBlock * weight_size, (width + kDepth - 1) / kDepth, true, to, edge);
      }
    }
  }
}

}  // namespace

std::string register_amx_vocabulary() {
  return register_vocabulary_sums<softmax_over_vocabulary>();
}
#else
std::string register_amx_vocabulary() { return ""; }
#endif
