// Float32 numbers multiplied by AMX, whose tiles multiply bfloat16 numbers at sixteen times the rate of float32 instructions.
// A float32 number is the sum of three bfloat16 numbers (8 + 8 + 8 bits), so a product of two is nine products; the three smallest lie below float32's own
// rounding and are left out (Henry, Tang, Heinecke, arXiv 1904.06376). Sums are float32's, so errors are those of an ordinary float32 product.
#pragma once
#ifdef __AMX_BF16__
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "scratch.h"

constexpr int kSide = 16;                // rows of a tile, and its columns of 4 bytes
constexpr int kDepth = 32;               // bfloat16 numbers in a row
constexpr int kParts = 3;                // high, middle, low
constexpr int kTile = kSide * kDepth;    // numbers in a tile
constexpr int kBlock = 2 * kSide;        // rows and columns of C that are held in tiles at once

/** A matrix that the depth of a product runs along (`depth` contiguous) or across; its other axis has `lines`. */
struct Operand {
  const float* data;
  int64_t row;       // from one row in memory to the next
  bool depth_along;  // depth is the axis that is contiguous
  int64_t lines;
};

/** Sixteen floats as three vectors of bfloat16, each in the high half of a lane (rounded to nearest; the low halves are 0). */
inline void split(__m512 x, __m512i part[kParts]) {
  const __m512i half = _mm512_set1_epi32(0x8000), high = _mm512_set1_epi32(static_cast<int>(0xffff0000));
  for (int p = 0; p < kParts; p++) {
    part[p] = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), high);
    x = _mm512_sub_ps(x, _mm512_castsi512_ps(part[p]));
  }
}

inline void transpose(__m512i row[kSide]) {
  __m512i step[kSide];
  for (int i = 0; i < kSide; i += 2) {
    step[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
    step[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
  }
  for (int i = 0; i < kSide; i += 4) {
    row[i] = _mm512_unpacklo_epi64(step[i], step[i + 2]);
    row[i + 1] = _mm512_unpackhi_epi64(step[i], step[i + 2]);
    row[i + 2] = _mm512_unpacklo_epi64(step[i + 1], step[i + 3]);
    row[i + 3] = _mm512_unpackhi_epi64(step[i + 1], step[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    step[i] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0x88);
    step[i + 4] = _mm512_shuffle_i32x4(row[i], row[i + 4], 0xdd);
    step[i + 8] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0x88);
    step[i + 12] = _mm512_shuffle_i32x4(row[i + 8], row[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; i++) {
    const int from = i % 4 + (i / 4) * 4;
    row[i] = _mm512_shuffle_i32x4(step[from], step[from + 8], 0x88);
    row[i + 8] = _mm512_shuffle_i32x4(step[from], step[from + 8], 0xdd);
  }
}

/** Asks for cache lines that will be read soon; rows are far apart, and the processor does not guess them. Where they do not exist, nothing happens. */
inline void prefetch(const float* from, int cache_lines) {
  for (int line = 0; line < cache_lines; line++) __builtin_prefetch(from + line * 16);
}

/**
 * One tile of each part, from line `line` and depth `depth` on, zeros beyond the ends. Two numbers that follow each other in depth share 4 bytes; a left
 * factor has a line a row, a right factor (`right`) a line a column.
 */
inline void pack(const Operand& from, int64_t line, int64_t depth, int64_t total_depth, bool right, uint16_t* to[kParts]) {
  __m512i rows[kParts][kSide];
  const int64_t lines = std::min<int64_t>(kSide, from.lines - line);
  const int64_t deep = std::min<int64_t>(kDepth, total_depth - depth);
  __m512i low[kParts], high[kParts];
  alignas(64) static constexpr uint16_t kHighHalves[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                                           33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const __m512i high_halves = _mm512_load_si512(kHighHalves);
  if (from.depth_along) {
    const __mmask16 first = deep >= 16 ? 0xffff : (1u << deep) - 1;
    const __mmask16 second = deep >= 32 ? 0xffff : deep > 16 ? (1u << (deep - 16)) - 1 : 0;
    for (int i = 0; i < kSide; i++) {
      const float* at = from.data + (line + i) * from.row + depth;
      if (i < lines) prefetch(at + 2 * kDepth, 2);
      split(i < lines ? _mm512_maskz_loadu_ps(first, at) : _mm512_setzero_ps(), low);
      split(i < lines ? _mm512_maskz_loadu_ps(second, at + 16) : _mm512_setzero_ps(), high);
      for (int p = 0; p < kParts; p++) rows[p][i] = _mm512_permutex2var_epi16(low[p], high_halves, high[p]);
    }
  } else {
    const __mmask16 there = lines >= 16 ? 0xffff : (1u << lines) - 1;
    for (int i = 0; i < kSide; i++) {
      const float* at = from.data + (depth + 2 * i) * from.row + line;
      prefetch(at + kDepth * from.row, 1);
      prefetch(at + (kDepth + 1) * from.row, 1);
      split(2 * i < deep ? _mm512_maskz_loadu_ps(there, at) : _mm512_setzero_ps(), low);
      split(2 * i + 1 < deep ? _mm512_maskz_loadu_ps(there, at + from.row) : _mm512_setzero_ps(), high);
      for (int p = 0; p < kParts; p++) rows[p][i] = _mm512_or_si512(_mm512_srli_epi32(low[p], 16), high[p]);
    }
  }
  for (int p = 0; p < kParts; p++) {
    if (from.depth_along == right) transpose(rows[p]);
    for (int i = 0; i < kSide; i++) _mm512_store_si512(to[p] + i * kDepth, rows[p][i]);
  }
}

/** kBlock lines from `line` on, of depths from `start` to `end`: for each kDepth of them, each part and each half of the lines, one tile. */
inline void pack_block(const Operand& from, int64_t line, int64_t start, int64_t end, bool right, uint16_t* to) {
  for (int64_t k = start; k < end; k += kDepth) {
    for (int half = 0; half < 2; half++) {
      uint16_t* tiles[kParts];
      for (int p = 0; p < kParts; p++) tiles[p] = to + (p * 2 + half) * kTile;
      if (line + half * kSide < from.lines) {
        pack(from, line + half * kSide, k, end, right, tiles);
      } else {
        for (int p = 0; p < kParts; p++) std::memset(tiles[p], 0, kTile * sizeof(uint16_t));
      }
    }
    to += 2 * kParts * kTile;
  }
}

enum { kHigh = 0, kMiddle = 1, kLow = 2 };

#define LOAD_LEFT(part)                                        \
  _tile_loadd(4, left + ((part)*2) * kTile, kDepth * 2);       \
  _tile_loadd(5, left + ((part)*2 + 1) * kTile, kDepth * 2)
#define LOAD_RIGHT(part)                                       \
  _tile_loadd(6, right + ((part)*2) * kTile, kDepth * 2);      \
  _tile_loadd(7, right + ((part)*2 + 1) * kTile, kDepth * 2)
#define MULTIPLY_TILES()     \
  _tile_dpbf16ps(0, 4, 6);   \
  _tile_dpbf16ps(1, 4, 7);   \
  _tile_dpbf16ps(2, 5, 6);   \
  _tile_dpbf16ps(3, 5, 7)

/** kBlock × kBlock sums of a packed block of lines and one of columns, written to `c`, or added to what stands there: in the end, since long sums of float32 lose digits. */
inline void multiply_block(const uint16_t* left_block, const uint16_t* right_block, int64_t steps, bool add, float* c, int64_t row) {
  constexpr int64_t kStep = 2 * kParts * kTile;
  // The compiler does not know that the instructions read memory: what was written before must be there.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t step = 0; step < steps; step++) {
    const uint16_t* left = left_block + step * kStep;
    const uint16_t* right = right_block + step * kStep;
    // In an order that changes one factor at a time.
    LOAD_LEFT(kLow);
    LOAD_RIGHT(kHigh);
    MULTIPLY_TILES();
    LOAD_LEFT(kMiddle);
    MULTIPLY_TILES();
    LOAD_RIGHT(kMiddle);
    MULTIPLY_TILES();
    LOAD_LEFT(kHigh);
    MULTIPLY_TILES();
    LOAD_RIGHT(kLow);
    MULTIPLY_TILES();
    LOAD_RIGHT(kHigh);
    MULTIPLY_TILES();
  }
  alignas(64) float sums[kBlock * kBlock];
  float* const to = add ? sums : c;
  const int64_t to_row = add ? kBlock : row;
  _tile_stored(0, to, to_row * sizeof(float));
  _tile_stored(1, to + kSide, to_row * sizeof(float));
  _tile_stored(2, to + kSide * to_row, to_row * sizeof(float));
  _tile_stored(3, to + kSide * to_row + kSide, to_row * sizeof(float));
  if (!add) return;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  for (int i = 0; i < kBlock; i++) {
    for (int half = 0; half < kBlock; half += kSide) {
      float* at = c + i * row + half;
      _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), _mm512_load_ps(sums + i * kBlock + half)));
    }
  }
}

/** The shapes of all tiles for this thread, as long as it lives. Numbers below the smallest normal one are 0 meanwhile, as the tiles have it: made in full, each would cost a hundred instructions. */
class Tiles {
 public:
  Tiles() : control_(_mm_getcsr()) {
    constexpr unsigned kFlushToZero = 0x8000, kReadAsZero = 0x40;
    _mm_setcsr(control_ | kFlushToZero | kReadAsZero);
    // In memory of its own: the compiler does not know how much of it the instruction reads.
    static const Shapes shapes;
    _tile_loadconfig(&shapes);
  }
  ~Tiles() {
    _tile_release();
    _mm_setcsr(control_);
  }
  Tiles(const Tiles&) = delete;

 private:
  struct __attribute__((packed)) Shapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };

  const unsigned control_;
};

/** Part of a matrix that takes a block of sums. */
struct Target {
  float* data;
  int64_t row;
  /** What there is of it, up to kBlock each way. */
  int64_t rows, columns;
};

/** As `multiply_block`, where the matrix may end within the block. `edge` has room for a block. */
inline void multiply_to(const uint16_t* left, const uint16_t* right, int64_t steps, bool add, const Target& to, float* edge) {
  if (to.rows >= kBlock && to.columns >= kBlock) return multiply_block(left, right, steps, add, to.data, to.row);
  const int64_t rows = std::min<int64_t>(to.rows, kBlock), columns = std::min<int64_t>(to.columns, kBlock);
  if (add) {
    for (int64_t i = 0; i < rows; i++) std::copy_n(to.data + i * to.row, columns, edge + i * kBlock);
  }
  multiply_block(left, right, steps, add, edge, kBlock);
  for (int64_t i = 0; i < rows; i++) std::copy_n(edge + i * kBlock, columns, to.data + i * to.row);
}

#undef LOAD_LEFT
#undef LOAD_RIGHT
#undef MULTIPLY_TILES
#endif
