// silu(gate) · up, the heart of a gated MLP, and its gradient.
#include "exponential.h"
#include "operations.h"

static void gated_product(Run& run) {
  const auto gate = run.floats(0);
  const auto up = run.floats(1);
  if (!run.require(gate.size() == up.size(), "gate and up have different shapes")) return;
  const auto product = run.output_over(0, {0, 1}, gate.shape);
  if (!run.ready()) return;
  const int64_t size = gate.size();
#pragma omp simd
  for (int64_t i = 0; i < size; i++) product.data[i] = gate.data[i] / (1 + exponential(-gate.data[i])) * up.data[i];
}

/** gate, up and the gradient of their product → the gradients of both, and the product once more (the next weight's gradient needs it). */
static void gated_product_gradient(Run& run) {
  const auto gate = run.floats(0);
  const auto up = run.floats(1);
  const auto dproduct = run.floats(2);
  if (!run.require(gate.size() == up.size() && gate.size() == dproduct.size(), "gate, up and the gradient have different shapes")) return;
  // Whatever is read last may be written over.
  const auto dgate = run.output_over(0, {0}, gate.shape);
  const auto dup = run.output_over(1, {1}, gate.shape);
  const auto product = run.output_over(2, {2}, gate.shape);
  if (!run.ready()) return;
  const int64_t size = gate.size();
#pragma omp simd
  for (int64_t i = 0; i < size; i++) {
    const float g = gate.data[i];
    const float u = up.data[i];
    const float d = dproduct.data[i];
    const float open = 1 / (1 + exponential(-g));
    const float active = g * open;
    dgate.data[i] = d * u * (open + active * (1 - open));
    dup.data[i] = d * active;
    product.data[i] = active * u;
  }
}

std::string register_gated_product() {
  return register_operation<gated_product>({"DraftalignGatedProduct", {"gate: float", "up: float"}, {"product: float"}, {}, shapes_of_inputs<0>}) +
         register_operation<gated_product_gradient>({"DraftalignGatedProductGradient",
                                                     {"gate: float", "up: float", "dproduct: float"},
                                                     {"dgate: float", "dup: float", "product: float"},
                                                     {},
                                                     shapes_of_inputs<0, 1, 2>});
}
