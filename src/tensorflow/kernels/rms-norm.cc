// Root-mean-square norm over the last axis and its gradient: one pass over a row for the sum, one for the result, while the row is in the cache.
#include <cmath>

#include "operations.h"

/** Rows whose share of the weight's gradient is summed apart: long sums of float32 lose digits. */
constexpr int64_t kRowsSummed = 64;

/** x `[…, D]`, weight `[D]` → `x / sqrt(mean(x²) + epsilon) · weight`, and `1 / sqrt(…)` of each row. */
static void rms_norm(Run& run) {
  const auto x = run.floats(0);
  const auto weight = run.floats(1);
  const int64_t width = weight.size();
  if (!run.require(width > 0 && x.width() == width, "the norm's weight is not as wide as the rows")) return;
  const auto y = run.output_over(0, {0}, x.shape);
  const auto inverse = run.output(1, {x.rows()});
  if (!run.ready()) return;
  const float* scale = weight.data;
  for (int64_t row = 0; row < x.rows(); row++) {
    const float* from = x.data + row * width;
    float* to = y.data + row * width;
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < width; i++) squares += from[i] * from[i];
    const float factor = 1 / std::sqrt(squares / width + run.attributes.epsilon);
    inverse.data[row] = factor;
#pragma omp simd
    for (int64_t i = 0; i < width; i++) to[i] = from[i] * factor * scale[i];
  }
}

/** x, weight, `1 / sqrt(…)` of each row and the gradient of the norm → the gradients of x and weight. */
static void rms_norm_gradient(Run& run) {
  const auto x = run.floats(0);
  const auto weight = run.floats(1);
  const auto inverse = run.floats(2);
  const auto dy = run.floats(3);
  const int64_t width = weight.size();
  const int64_t rows = x.rows();
  if (!run.require(width > 0 && x.width() == width && dy.size() == x.size() && inverse.size() == rows, "the norm's gradient has another shape than its input")) return;
  const auto dx = run.output_over(0, {3}, x.shape);
  const auto dweight = run.output(1, weight.shape);
  if (!run.ready()) return;
  const float* scale = weight.data;
  std::vector<float> partial(width);
  std::fill_n(dweight.data, width, 0.0f);
  for (int64_t start = 0; start < rows; start += kRowsSummed) {
    const int64_t end = std::min(start + kRowsSummed, rows);
    std::fill(partial.begin(), partial.end(), 0.0f);
    float* sums = partial.data();
    for (int64_t row = start; row < end; row++) {
      const float* value = x.data + row * width;
      const float* gradient = dy.data + row * width;
      float* to = dx.data + row * width;
      const float factor = inverse.data[row];
      float along = 0;
#pragma omp simd reduction(+ : along)
      for (int64_t i = 0; i < width; i++) along += gradient[i] * value[i] * scale[i];
      const float shift = along * factor * factor / width;
#pragma omp simd
      for (int64_t i = 0; i < width; i++) {
        const float slope = gradient[i];
        sums[i] += slope * value[i] * factor;
        to[i] = (slope * scale[i] - value[i] * shift) * factor;
      }
    }
#pragma omp simd
    for (int64_t i = 0; i < width; i++) dweight.data[i] += sums[i];
  }
}

std::string register_rms_norm() {
  return register_operation<rms_norm>({"DraftalignRmsNorm", {"x: float", "weight: float"}, {"y: float", "inverse: float"}, {"epsilon: float"}, shapes_of_inputs<0, -1>}) +
         register_operation<rms_norm_gradient>({"DraftalignRmsNormGradient",
                                                {"x: float", "weight: float", "inverse: float", "dy: float"},
                                                {"dx: float", "dweight: float"},
                                                {},
                                                shapes_of_inputs<0, 1>});
}
