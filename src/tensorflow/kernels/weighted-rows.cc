// Sums of some rows of a table, each with a weight of its own, without a copy of the rows.
#include "operations.h"

/** weights `[R, k]`, ids `[R, k]` of rows of table `[V, D]` → Σ weight · row, `[R, D]`. */
static void weighted_rows(Run& run) {
  const auto weights = run.floats(0);
  const auto ids = run.integers(1);
  const auto table = run.floats(2);
  if (!run.require(weights.shape.size() == 2 && ids.shape == weights.shape && table.shape.size() == 2, "weighted rows take a weight for each id, and a matrix")) return;
  const int64_t rows = weights.shape[0], count = weights.shape[1], width = table.width();
  const auto sums = run.output(0, {rows, width});
  if (!run.ready()) return;
  for (int64_t i = 0; i < ids.size(); i++) {
    if (!run.require(ids.data[i] >= 0 && ids.data[i] < table.rows(), "weighted rows: an id is not a row of the table")) return;
  }
  for (int64_t row = 0; row < rows; row++) {
    float* to = sums.data + row * width;
    std::fill_n(to, width, 0.0f);
    for (int64_t k = 0; k < count; k++) {
      const float weight = weights.data[row * count + k];
      const float* from = table.data + ids.data[row * count + k] * width;
#pragma omp simd
      for (int64_t i = 0; i < width; i++) to[i] += weight * from[i];
    }
  }
}

std::string register_weighted_rows() {
  return register_operation<weighted_rows>({"DraftalignWeightedRows", {"weights: float", "ids: int32", "table: float"}, {"sums: float"}, {}, shapes_of_inputs<-1>});
}
