// What the scores need of a tile of logits, in two passes over each row: its peak, and e^(logit - peak) with some tokens' left out.
#include <cmath>
#include <limits>

#include "exponential.h"
#include "operations.h"

/**
 * logits `[R, v]`, listed `[R, L]` columns (those outside the tile are not its tokens) → weights `[R, v]`, 0 at listed columns; each row's sum of
 * them `[R, 1]`; its largest logit `[R, 1]` and the first column that has it `[R]`; the listed logits `[R, L]`, 0 outside the tile.
 */
static void vocabulary_tile(Run& run) {
  const auto logits = run.floats(0);
  const auto listed = run.integers(1);
  const int64_t rows = logits.rows();
  const int64_t width = logits.width();
  if (!run.require(width > 0 && listed.shape.size() == 2 && listed.rows() == rows, "a tile of logits needs a list of columns for each row")) return;
  const int64_t count = listed.width();
  const auto weights = run.output_over(0, {0}, logits.shape);
  const auto sums = run.output(1, {rows, 1});
  const auto peaks = run.output(2, {rows, 1});
  const auto best = run.integer_output(3, {rows});
  const auto listed_logits = run.output(4, listed.shape);
  if (!run.ready()) return;
  for (int64_t row = 0; row < rows; row++) {
    const float* from = logits.data + row * width;
    float* to = weights.data + row * width;
    const int32_t* columns = listed.data + row * count;
    float peak = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : peak)
    for (int64_t i = 0; i < width; i++) peak = from[i] > peak ? from[i] : peak;
    int64_t first = 0;
    while (first < width - 1 && !(from[first] >= peak)) first++;
    for (int64_t i = 0; i < count; i++) listed_logits.data[row * count + i] = columns[i] >= 0 && columns[i] < width ? from[columns[i]] : 0;
    float total = 0;
#pragma omp simd
    for (int64_t i = 0; i < width; i++) to[i] = exponential(from[i] - peak);
    for (int64_t i = 0; i < count; i++) {
      if (columns[i] >= 0 && columns[i] < width) to[columns[i]] = 0;
    }
#pragma omp simd reduction(+ : total)
    for (int64_t i = 0; i < width; i++) total += to[i];
    sums.data[row] = total;
    peaks.data[row] = peak;
    best.data[row] = static_cast<int32_t>(first);
  }
}

std::string register_vocabulary_tile() {
  return register_operation<vocabulary_tile>({"DraftalignVocabularyTile",
                                              {"logits: float", "listed: int32"},
                                              {"weights: float", "sums: float", "peaks: float", "best: int32", "listed_logits: float"},
                                              {},
                                              shapes_of_inputs<0, -1, -1, -1, 1>});
}
