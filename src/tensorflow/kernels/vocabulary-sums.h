// The softmax over a whole vocabulary from hidden states and the head, as an operation: what it reads and gives. How it is computed depends on the
// processor (amx-vocabulary.cc, vocabulary.cc); everywhere logits exist for a few rows and a few tokens at a time, in the cache, and the sum of
// weight · head row, which the gradients need, is made along with them.
#pragma once
#include <algorithm>
#include <limits>

#include "operations.h"

/**
 * hidden `[R, D]`, head `[V, D]`, listed `[R, L]` tokens → each row's largest logit `[R, 1]` and the first token that has it `[R]`; the listed logits
 * `[R, L]`; over the tokens not listed the sum of e^(logit - peak) `[R, 1]`, and that of e^(logit - peak) · head row `[R, D]` (only where `with_head`).
 */
struct VocabularySums {
  Array<const float> hidden, head;
  Array<const int32_t> listed;
  Array<float> peaks, listed_logits, sums, sums_of_head;
  Array<int32_t> best;
  int64_t rows, depth, vocabulary, count;
  bool with_head;

  /** Reads the inputs and makes the outputs, as they are before the first token; false where the run has failed. */
  bool begin(Run& run) {
    hidden = run.floats(0);
    head = run.floats(1);
    listed = run.integers(2);
    if (!run.require(hidden.shape.size() == 2 && head.shape.size() == 2 && listed.shape.size() == 2 && hidden.width() == head.width() && listed.rows() == hidden.rows(),
                     "hidden states, head and listed tokens have shapes that disagree")) return false;
    rows = hidden.rows();
    depth = hidden.width();
    vocabulary = head.rows();
    count = listed.width();
    with_head = run.attributes.with_head;
    peaks = run.output(0, {rows, 1});
    best = run.integer_output(1, {rows});
    listed_logits = run.output(2, listed.shape);
    sums = run.output(3, {rows, 1});
    sums_of_head = run.output(4, {with_head ? rows : 0, depth});
    if (!run.ready()) return false;
    std::fill_n(peaks.data, rows, -std::numeric_limits<float>::infinity());
    std::fill_n(sums.data, rows, 0.0f);
    std::fill_n(best.data, rows, 0);
    std::fill_n(listed_logits.data, listed_logits.size(), 0.0f);
    std::fill_n(sums_of_head.data, sums_of_head.size(), 0.0f);
    return true;
  }

  /** Notes the logits of the row's listed tokens among those from `start` on, and makes them minus infinity, a weight of 0. Token `start + i` has its logit at `logits[i · stride]`. */
  void take_out_listed(int64_t row, int64_t start, int64_t tokens, float* logits, int64_t stride) const {
    const int32_t* listed_token = listed.data + row * count;
    const uint32_t from = static_cast<uint32_t>(start), here = static_cast<uint32_t>(tokens);
    uint32_t any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t k = 0; k < count; k++) any |= static_cast<uint32_t>(listed_token[k]) - from < here;
    if (any == 0) return;
    const auto each = [&](auto use) {
      for (int64_t k = 0; k < count; k++) {
        const uint32_t column = static_cast<uint32_t>(listed_token[k]) - from;
        if (column < here) use(k, logits[column * stride]);
      }
    };
    // A token may be listed twice.
    each([&](int64_t k, float logit) { listed_logits.data[row * count + k] = logit; });
    each([](int64_t, float& logit) { logit = -std::numeric_limits<float>::infinity(); });
  }
};

template <void (*compute)(Run&)>
std::string register_vocabulary_sums() {
  return register_operation<compute>({"DraftalignSoftmaxOverVocabulary",
                                      {"hidden: float", "head: float", "listed: int32"},
                                      {"peaks: float", "best: int32", "listed_logits: float", "sums: float", "sums_of_head: float"},
                                      {"with_head: bool"},
                                      shapes_of_inputs<-1, -1, 2, -1, -1>});
}
