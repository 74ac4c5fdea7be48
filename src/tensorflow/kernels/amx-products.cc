// Products of float32 matrices on processors with AMX.
#include "amx-tiles.h"
#include "operations.h"

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>

namespace {

/** Packed numbers of one factor that stay in the second cache while the other factor's blocks go by. */
constexpr int64_t kHeldBytes = 1 << 20;
constexpr int64_t kHeldLines = 512;

/** C `[m, n]` = A · B, A of m lines, B of n, both `depth` deep. False where memory is missing. */
bool multiply(const Operand& a, const Operand& b, int64_t depth, float* c) {
  // The factor of fewer lines is held, so that the other one is packed once.
  const bool hold_right = b.lines <= a.lines;
  const Operand& held = hold_right ? b : a;
  const Operand& passing = hold_right ? a : b;
  const int64_t group_lines = std::min(kHeldLines, (held.lines + kBlock - 1) / kBlock * kBlock);
  const int64_t most_steps = std::max<int64_t>(kHeldBytes / (group_lines * kParts * kDepth * sizeof(uint16_t)), 1);
  const int64_t steps = (depth + kDepth - 1) / kDepth;
  // Chunks of depth as even as they come.
  const int64_t chunk_steps = (steps + (steps - 1) / most_steps) / ((steps - 1) / most_steps + 1);
  const int64_t block_size = chunk_steps * 2 * kParts * kTile;
  uint16_t* const passing_block = scratch<0, uint16_t>((group_lines / kBlock + 1) * block_size);
  if (passing_block == nullptr) return false;
  uint16_t* const held_blocks = passing_block + block_size;
  const Tiles tiles;
  alignas(64) float edge[kBlock * kBlock] = {};
  for (int64_t start = 0; start < depth; start += chunk_steps * kDepth) {
    const int64_t end = std::min(start + chunk_steps * kDepth, depth);
    const int64_t own_steps = (end - start + kDepth - 1) / kDepth;
    for (int64_t group = 0; group < held.lines; group += group_lines) {
      const int64_t group_end = std::min(group + group_lines, held.lines);
      for (int64_t line = group; line < group_end; line += kBlock) pack_block(held, line, start, end, hold_right, held_blocks + (line - group) / kBlock * block_size);
      for (int64_t line = 0; line < passing.lines; line += kBlock) {
        pack_block(passing, line, start, end, !hold_right, passing_block);
        for (int64_t other = group; other < group_end; other += kBlock) {
          const uint16_t* own = held_blocks + (other - group) / kBlock * block_size;
          const int64_t row = hold_right ? line : other, column = hold_right ? other : line;
          const Target to = {c + row * b.lines + column, b.lines, a.lines - row, b.lines - column};
          multiply_to(hold_right ? passing_block : own, hold_right ? own : passing_block, own_steps, start > 0, to, edge);
        }
      }
    }
  }
  return true;
}

/** a `[m, k]` (or `[k, m]`, `transpose_a`) times b `[k, n]` (or `[n, k]`) → `[m, n]`. */
void product(Run& run) {
  const auto a = run.floats(0);
  const auto b = run.floats(1);
  if (!run.require(a.shape.size() == 2 && b.shape.size() == 2, "a product takes two matrices")) return;
  const bool ta = run.attributes.transpose_a, tb = run.attributes.transpose_b;
  const int64_t m = a.shape[ta], k = a.shape[!ta], n = b.shape[!tb];
  if (!run.require(k == b.shape[tb] && k > 0, "the inner dimensions of a product disagree, or are 0")) return;
  const auto c = run.output(0, {m, n});
  if (!run.ready()) return;
  run.require(multiply({a.data, a.shape[1], !ta, m}, {b.data, b.shape[1], tb, n}, k, c.data), "no memory for a product");
}

}  // namespace

/** Whether the system lets this process use the tiles. */
bool tiles_allowed() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

std::string register_amx_products() {
  return register_operation<product>(
      {"DraftalignProduct", {"a: float", "b: float"}, {"c: float"}, {"transpose_a: bool", "transpose_b: bool"}, shapes_of_inputs<-1>});
}
#else
bool tiles_allowed() { return false; }
std::string register_amx_products() { return ""; }
#endif
