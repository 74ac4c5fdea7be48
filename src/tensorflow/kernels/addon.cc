// The kernels as a Node addon: loading it makes their operations known to TensorFlow, which lives in the same process.
#include <string>

#include <node_api.h>

std::string register_rms_norm();
std::string register_gated_product();
std::string register_rotation();
std::string register_vocabulary_tile();
std::string register_block_attention();

NAPI_MODULE_INIT() {
  const std::string problems = register_rms_norm() + register_gated_product() + register_rotation() + register_vocabulary_tile() + register_block_attention();
  if (!problems.empty()) napi_throw_error(env, nullptr, problems.c_str());
  return exports;
}
