// e^x without a branch or a call, so that loops over it compile to vector instructions.
#pragma once
#include <cstdint>
#include <cstring>

inline float power_of_two(int32_t exponent) {
  const int32_t bits = (exponent + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return power;
}

/**
 * e^x to two units in the last place: x = n·ln 2 + r with |r| ≤ ln 2 / 2, e^r by its series to the seventh power, 2^n in two factors, so that
 * results below the smallest normal number come out right. 0 from -104 down, infinity from 89 up; not a number stays so.
 */
inline float exponential(float x) {
  const float clamped = x < -104.0f ? -104.0f : (x > 89.0f ? 89.0f : x);
  const float n = (clamped * 1.44269504f + 12582912.0f) - 12582912.0f;  // 1.5·2^23: rounds to a whole number
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;    // ln 2 in two parts, the first of few bits
  float power = 1.0f / 5040;
  power = power * r + 1.0f / 720;
  power = power * r + 1.0f / 120;
  power = power * r + 1.0f / 24;
  power = power * r + 1.0f / 6;
  power = power * r + 0.5f;
  power = power * r + 1.0f;
  power = power * r + 1.0f;
  const int32_t whole = static_cast<int32_t>(n);
  const int32_t half = whole >> 1;
  return power * power_of_two(half) * power_of_two(whole - half);
}
