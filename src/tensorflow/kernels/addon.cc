// The kernels as a Node addon: loading it makes their operations known to TensorFlow, which lives in the same process.
#include <string>

#include <node_api.h>

std::string register_rms_norm();
std::string register_gated_product();
std::string register_rotation();
std::string register_block_attention();
std::string register_weighted_rows();
std::string register_packed_half();
std::string register_thin_product();
std::string register_vocabulary();
std::string register_amx_products();
std::string register_amx_vocabulary();
bool tiles_allowed();

NAPI_MODULE_INIT() {
  std::string problems =
      register_rms_norm() + register_gated_product() + register_rotation() + register_block_attention() + register_weighted_rows() + register_packed_half() +
      register_thin_product();
  const bool products = problems.empty() && tiles_allowed();
  problems += products ? register_amx_products() + register_amx_vocabulary() : register_vocabulary();
  if (!problems.empty()) napi_throw_error(env, nullptr, problems.c_str());
  napi_value has_products;
  napi_get_boolean(env, products, &has_products);
  napi_set_named_property(env, exports, "products", has_products);
  return exports;
}
