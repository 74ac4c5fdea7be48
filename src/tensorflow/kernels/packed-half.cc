// float16 numbers, two in each int32.
#include <immintrin.h>

#include "operations.h"

/** numbers `[…, 2n]` → `[…, n]`, rounded to nearest, ties to even; what is too large becomes infinity. */
static void pack_half(Run& run) {
  const auto numbers = run.floats(0);
  if (!run.require(!numbers.shape.empty() && numbers.width() % 2 == 0, "numbers are packed in pairs along an axis of even length")) return;
  std::vector<int64_t> shape = numbers.shape;
  shape.back() /= 2;
  const auto packed = run.integer_output(0, shape);
  if (!run.ready()) return;
  auto* half = reinterpret_cast<uint16_t*>(packed.data);
  const int64_t size = numbers.size();
  int64_t i = 0;
  for (; i + 8 <= size; i += 8) _mm_storeu_si128(reinterpret_cast<__m128i*>(half + i), _mm256_cvtps_ph(_mm256_loadu_ps(numbers.data + i), _MM_FROUND_TO_NEAREST_INT));
  for (; i < size; i++) half[i] = _cvtss_sh(numbers.data[i], _MM_FROUND_TO_NEAREST_INT);
}

/** packed `[…, n]` → `[…, 2n]`, exactly. */
static void unpack_half(Run& run) {
  const auto packed = run.integers(0);
  if (!run.require(!packed.shape.empty(), "packed numbers need an axis")) return;
  std::vector<int64_t> shape = packed.shape;
  shape.back() *= 2;
  const auto numbers = run.output(0, shape);
  if (!run.ready()) return;
  const auto* half = reinterpret_cast<const uint16_t*>(packed.data);
  const int64_t size = numbers.size();
  int64_t i = 0;
  for (; i + 8 <= size; i += 8) _mm256_storeu_ps(numbers.data + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + i))));
  for (; i < size; i++) numbers.data[i] = _cvtsh_ss(half[i]);
}

std::string register_packed_half() {
  return register_operation<pack_half>({"DraftalignPackHalf", {"numbers: float"}, {"packed: int32"}, {}, shapes_of_inputs<-1>}) +
         register_operation<unpack_half>({"DraftalignUnpackHalf", {"packed: int32"}, {"numbers: float"}, {}, shapes_of_inputs<-1>});
}
