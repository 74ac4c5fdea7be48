// The softmax over the whole vocabulary by float32 instructions. Rows of hidden states lie along the fast axis, a panel of them at a time: both products then
// read the head as it lies in memory, one number for all rows of a panel, and the softmax goes down columns.
#include <cmath>

#include "exponential.h"
#include "scratch.h"
#include "small-products.h"
#include "vocabulary-sums.h"

namespace {

constexpr int kPanelVectors = 3;
constexpr int64_t kPanel = kPanelVectors * kLanes;
constexpr int kTokensAtOnce = kMostSums / kPanelVectors;

/** Tokens that are dealt with at a time: their head rows stay in the second cache while all panels go by, their weights for one panel in the first. */
int64_t tokens_at_once(int64_t depth) { return std::clamp<int64_t>((192 << 10) / (depth * sizeof(float)) / kTokensAtOnce * kTokensAtOnce, 64, 128); }

/** One row's state, for each row of a panel. */
struct PanelState {
  alignas(64) float peak[kPanel];
  alignas(64) float sum[kPanel];
};

/** From logits `[tokens, width]` of a panel: raises the peaks, and tells whether it had to; `shrink` then says what that makes of earlier weights. */
bool raise_peaks(const VocabularySums& all, int64_t first_row, int64_t start, int64_t tokens, const float* logits, int64_t width, PanelState* state, float* shrink) {
  alignas(64) float peak[kPanel];
  std::copy_n(state->peak, width, peak);
  for (int64_t token = 0; token < tokens; token++) {
    const float* logit = logits + token * width;
#pragma omp simd
    for (int64_t row = 0; row < width; row++) peak[row] = logit[row] > peak[row] ? logit[row] : peak[row];
  }
  bool raised = false;
  for (int64_t row = 0; row < width; row++) {
    shrink[row] = 1;
    if (!(peak[row] > state->peak[row])) continue;
    raised = true;
    shrink[row] = exponential(state->peak[row] - peak[row]);
    state->peak[row] = peak[row];
    state->sum[row] *= shrink[row];
    if (first_row + row >= all.rows) continue;
    int64_t first = 0;
    while (first < tokens - 1 && logits[first * width + row] < peak[row]) first++;
    all.best.data[first_row + row] = static_cast<int32_t>(start + first);
  }
  return raised;
}

template <int vectors>
void one_panel(const VocabularySums& all, int64_t first_row, int64_t start, int64_t tokens, const float* hidden, float* logits, float* sums_of_head, PanelState* state) {
  constexpr int64_t width = vectors * kLanes;
  constexpr int lines = kMostSums / vectors;
  const float* head = all.head.data + start * all.depth;
  multiply_rows<lines, vectors>({head, all.depth, 1}, {hidden, width}, {logits, width}, tokens, all.depth, false);
  alignas(64) float shrink[kPanel];
  if (raise_peaks(all, first_row, start, tokens, logits, width, state, shrink) && all.with_head) {
    for (int64_t d = 0; d < all.depth; d++) {
#pragma omp simd
      for (int64_t row = 0; row < width; row++) sums_of_head[d * width + row] *= shrink[row];
    }
  }
  for (int64_t row = 0; row < std::min(width, all.rows - first_row); row++) all.take_out_listed(first_row + row, start, tokens, logits + row, width);
  alignas(64) float sum[width] = {};
  for (int64_t token = 0; token < tokens; token++) {
    float* logit = logits + token * width;
#pragma omp simd
    for (int64_t row = 0; row < width; row++) {
      logit[row] = exponential(logit[row] - state->peak[row]);
      sum[row] += logit[row];
    }
  }
#pragma omp simd
  for (int64_t row = 0; row < width; row++) state->sum[row] += sum[row];
  if (all.with_head) multiply_rows<lines, vectors>({head, 1, all.depth}, {logits, width}, {sums_of_head, width}, all.depth, tokens, true);
}

void softmax_over_vocabulary(Run& run) {
  VocabularySums all;
  if (!all.begin(run)) return;
  const int64_t panels = (all.rows + kPanel - 1) / kPanel, padded = (all.rows + kLanes - 1) / kLanes * kLanes;
  const int64_t tokens = tokens_at_once(all.depth);
  float* const hidden = scratch<0, float>(2 * padded * all.depth + tokens * kPanel);
  if (!run.require(hidden != nullptr, "no memory for the softmax over the vocabulary")) return;
  float* const sums_of_head = hidden + padded * all.depth;
  float* const logits = sums_of_head + padded * all.depth;
  const auto width_of = [&](int64_t panel) { return std::min(kPanel, padded - panel * kPanel); };
  // Panels `[D, width]`, zeros where there is no row.
  for (int64_t panel = 0; panel < panels; panel++) {
    const int64_t width = width_of(panel);
    float* to = hidden + panel * kPanel * all.depth;
    for (int64_t row = 0; row < width; row++) {
      const int64_t at = panel * kPanel + row;
      for (int64_t d = 0; d < all.depth; d++) to[d * width + row] = at < all.rows ? all.hidden.data[at * all.depth + d] : 0.0f;
    }
  }
  std::fill_n(sums_of_head, padded * all.depth, 0.0f);
  std::vector<PanelState> states(panels);
  for (PanelState& state : states) {
    std::fill_n(state.peak, kPanel, -std::numeric_limits<float>::infinity());
    std::fill_n(state.sum, kPanel, 0.0f);
  }
  for (int64_t start = 0; start < all.vocabulary; start += tokens) {
    const int64_t own = std::min(tokens, all.vocabulary - start);
    for (int64_t panel = 0; panel < panels; panel++) {
      const int64_t at = panel * kPanel;
      const auto compute = width_of(panel) == kPanel ? one_panel<kPanelVectors> : width_of(panel) == 2 * kLanes ? one_panel<2> : one_panel<1>;
      compute(all, at, start, own, hidden + at * all.depth, logits, sums_of_head + at * all.depth, &states[panel]);
    }
  }
  for (int64_t row = 0; row < all.rows; row++) {
    const int64_t panel = row / kPanel, column = row % kPanel, width = width_of(panel);
    all.peaks.data[row] = states[panel].peak[column];
    all.sums.data[row] = states[panel].sum[column];
    if (!all.with_head) continue;
    const float* from = sums_of_head + panel * kPanel * all.depth;
    for (int64_t d = 0; d < all.depth; d++) all.sums_of_head.data[row * all.depth + d] = from[d * width + column];
  }
}

}  // namespace

std::string register_vocabulary() { return register_vocabulary_sums<softmax_over_vocabulary>(); }
