// The product of a few rows with a large matrix, as a block of drafts needs it: rows lie along the fast axis, so that the matrix is read once, as it lies in
// memory, one number for all rows. (A library packs the matrix first, which takes about as long as the product.)
#include "operations.h"
#include "scratch.h"
#include "small-products.h"

namespace {

/** Rows of the matrix that are read side by side: more would displace each other from the cache where their distance is a power of two. */
template <int vectors>
constexpr int kLinesAtOnce = std::min(8, kMostSums / vectors);
/** Rows of the matrix whose results are held, turned, before they are written: a multiple of all kLinesAtOnce. */
constexpr int64_t kHeldLines = 240;
constexpr int64_t kMostPanelVectors = 3;

/** held `[lines, width]` = matrix rows `[lines, depth]` · columns `[depth, width]`. The rows of the next step are asked for meanwhile: they come from far away, and each is short. */
template <int vectors>
void multiply_lines(const float* matrix, int64_t lines, int64_t depth, const float* columns, float* held) {
  constexpr int step = kLinesAtOnce<vectors>;
  constexpr int64_t width = vectors * kLanes, kCacheLine = 16;
  for (int64_t line = 0; line < lines; line += step) {
    const float* from = matrix + line * depth;
    for (int64_t at = step * depth; at < 2 * step * depth; at += kCacheLine) __builtin_prefetch(from + at);
    multiply_rows<step, vectors>({from, depth, 1}, {columns, width}, {held + line * width, width}, std::min<int64_t>(step, lines - line), depth, false);
  }
}

/** rows `[m, depth]`, matrix `[n, depth]` → rows · matrixᵀ, `[m, n]`. */
void thin_product(Run& run) {
  const auto rows = run.floats(0);
  const auto matrix = run.floats(1);
  if (!run.require(rows.shape.size() == 2 && matrix.shape.size() == 2 && rows.width() == matrix.width() && rows.width() > 0, "a thin product takes two matrices of one width, which is not 0")) return;
  const int64_t m = rows.shape[0], n = matrix.shape[0], depth = rows.width();
  const auto products = run.output(0, {m, n});
  if (!run.ready()) return;
  constexpr int64_t most = kMostPanelVectors * kLanes;
  float* const panel = scratch<2, float>((depth + kHeldLines) * most);
  if (!run.require(panel != nullptr, "no memory for a product")) return;
  float* const held = panel + depth * most;
  for (int64_t first = 0; first < m; first += most) {
    const int64_t own = std::min(most, m - first), vectors = (own + kLanes - 1) / kLanes, width = vectors * kLanes;
    for (int64_t row = 0; row < width; row++) {
      for (int64_t d = 0; d < depth; d++) panel[d * width + row] = row < own ? rows.data[(first + row) * depth + d] : 0.0f;
    }
    for (int64_t start = 0; start < n; start += kHeldLines) {
      const int64_t lines = std::min(kHeldLines, n - start);
      const float* from = matrix.data + start * depth;
      switch (vectors) {
        case 3: multiply_lines<3>(from, lines, depth, panel, held); break;
        case 2: multiply_lines<2>(from, lines, depth, panel, held); break;
        default: multiply_lines<1>(from, lines, depth, panel, held); break;
      }
      for (int64_t row = 0; row < own; row++) {
        float* result = products.data + (first + row) * n + start;
        for (int64_t line = 0; line < lines; line++) result[line] = held[line * width + row];
      }
    }
  }
}

}  // namespace

std::string register_thin_product() {
  return register_operation<thin_product>({"DraftalignThinProduct", {"rows: float", "matrix: float"}, {"products: float"}, {}, shapes_of_inputs<-1>});
}
