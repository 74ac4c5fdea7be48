// Rotary position embedding: dimension i of a head turns with i + headDim/2.
#include "operations.h"

/**
 * x `[…, headDim]`, cos and sin of its positions (tables that broadcast against x, except on the last axis, and whose second half repeats the
 * first) → x turned; or turned back, since the gradient of a turn is the gradient turned back.
 */
static void rotate(Run& run) {
  const auto x = run.floats(0);
  const auto cos = run.floats(1);
  const auto sin = run.floats(2);
  const int64_t width = x.width();
  const int64_t half = width / 2;
  const size_t rank = x.shape.size();
  bool fits = width % 2 == 0 && cos.width() == width && sin.shape == cos.shape && cos.shape.size() <= rank;
  // How far a step along each axis of x goes in the tables: nowhere where they have one row for all.
  std::vector<int64_t> steps(rank, 0);
  for (size_t back = 2, step = width; fits && back <= cos.shape.size(); back++) {
    const int64_t length = cos.shape[cos.shape.size() - back];
    fits = length == 1 || length == x.shape[rank - back];
    if (length > 1) steps[rank - back] = step;
    step *= length;
  }
  if (!run.require(fits, "the tables of a rotation do not broadcast against what they turn")) return;
  const auto y = run.output_over(0, {0}, x.shape);
  if (!run.ready()) return;
  const float sign = run.attributes.backward ? -1.0f : 1.0f;
  std::vector<int64_t> index(rank, 0);
  int64_t table = 0;
  for (int64_t row = 0; row < x.rows(); row++) {
    const float* c = cos.data + table;
    const float* s = sin.data + table;
    const float* from = x.data + row * width;
    float* to = y.data + row * width;
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
      const float first = from[i];
      const float second = from[i + half];
      const float sine = sign * s[i];
      to[i] = first * c[i] - second * sine;
      to[i + half] = second * c[i] + first * sine;
    }
    for (size_t axis = rank - 1; axis-- > 0;) {
      table += steps[axis];
      if (++index[axis] < x.shape[axis]) break;
      table -= index[axis] * steps[axis];
      index[axis] = 0;
    }
  }
}

std::string register_rotation() {
  return register_operation<rotate>({"DraftalignRotate", {"x: float", "cos: float", "sin: float"}, {"y: float"}, {"backward: bool"}, shapes_of_inputs<0>});
}
