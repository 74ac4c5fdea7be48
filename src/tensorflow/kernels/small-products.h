// Products of matrices that are too small for a library's call to pay: C (+)= A·B with B and C in rows of whole vectors, held in registers
// a few rows at a time. A may lie either way round.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
constexpr int kLanes = 16;
constexpr int kMostVectors = 4;
constexpr int kMostSums = 24;  // vectors of sums that registers hold beside the factors
#else
constexpr int kLanes = 8;
constexpr int kMostVectors = 2;
constexpr int kMostSums = 12;
#endif

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

inline Vector load(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline void store(float* to, Vector value) { std::memcpy(to, &value, sizeof value); }

/** Element (i, j) lies at `data[i · row + j · column]`. */
struct Strided {
  const float* data;
  int64_t row;
  int64_t column;
};

/** A matrix in rows of contiguous elements, `row` apart. */
template <typename T>
struct Rows {
  T* data;
  int64_t row;
};

template <int rows, int vectors>
inline void multiply_registers(Strided a, Rows<const float> b, Rows<float> c, int64_t inner, bool add) {
  Vector sums[rows][vectors] = {};
  for (int64_t k = 0; k < inner; k++) {
    Vector line[vectors];
    for (int v = 0; v < vectors; v++) line[v] = load(b.data + k * b.row + v * kLanes);
    for (int i = 0; i < rows; i++) {
      const float factor = a.data[i * a.row + k * a.column];
      for (int v = 0; v < vectors; v++) sums[i][v] += line[v] * factor;
    }
  }
  for (int i = 0; i < rows; i++) {
    for (int v = 0; v < vectors; v++) {
      float* to = c.data + i * c.row + v * kLanes;
      store(to, add ? load(to) + sums[i][v] : sums[i][v]);
    }
  }
}

template <int rows, int vectors>
inline void multiply_piece(Strided a, Rows<const float> b, Rows<float> c, int64_t row_count, int64_t inner, bool add) {
  int64_t i = 0;
  for (; i + rows <= row_count; i += rows) multiply_registers<rows, vectors>({a.data + i * a.row, a.row, a.column}, b, {c.data + i * c.row, c.row}, inner, add);
  if constexpr (rows > 1) {
    if (i < row_count) multiply_piece<rows / 2, vectors>({a.data + i * a.row, a.row, a.column}, b, {c.data + i * c.row, c.row}, row_count - i, inner, add);
  }
}

/** Products that are summed up before they are added to what others came to: long sums of float32 lose digits. */
constexpr int64_t kMostSummed = 256;

/** As `multiply`, for B and C of that many vectors a row; `rows` of them at once. */
template <int rows, int vectors>
inline void multiply_rows(Strided a, Rows<const float> b, Rows<float> c, int64_t row_count, int64_t inner, bool add) {
  int64_t start = 0;
  do {
    const int64_t piece = std::min(kMostSummed, inner - start);
    multiply_piece<rows, vectors>({a.data + start * a.column, a.row, a.column}, {b.data + start * b.row, b.row}, c, row_count, piece, add || start > 0);
    start += kMostSummed;
  } while (start < inner);
}

/** C `[row_count, width]` = A `[row_count, inner]` · B `[inner, width]`, or that much more where `add`; `width` is a multiple of kLanes. */
inline void multiply(Strided a, Rows<const float> b, Rows<float> c, int64_t row_count, int64_t width, int64_t inner, bool add) {
  int64_t vectors = width / kLanes;
  for (int64_t done = 0; done < vectors;) {
    const int64_t now = std::min<int64_t>(vectors - done, kMostVectors);
    const Rows<const float> from = {b.data + done * kLanes, b.row};
    const Rows<float> to = {c.data + done * kLanes, c.row};
    switch (now) {
#ifdef __AVX512F__
      case 4: multiply_rows<kMostSums / 4, 4>(a, from, to, row_count, inner, add); break;
      case 3: multiply_rows<kMostSums / 3, 3>(a, from, to, row_count, inner, add); break;
#endif
      case 2: multiply_rows<kMostSums / 2, 2>(a, from, to, row_count, inner, add); break;
      default: multiply_rows<kMostSums, 1>(a, from, to, row_count, inner, add); break;
    }
    done += now;
  }
}
