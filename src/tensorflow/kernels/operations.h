// What every kernel here shares: inputs and outputs as pointers with shapes, errors, and the registration of an operation.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "tensorflow-c-api.h"

/** A tensor that an operation reads or writes; dense, last axis fastest. */
template <typename T>
struct Array {
  T* data;
  std::vector<int64_t> shape;

  int64_t size() const {
    int64_t product = 1;
    for (int64_t length : shape) product *= length;
    return product;
  }
  /** Length of the last axis. */
  int64_t width() const { return shape.empty() ? 1 : shape.back(); }
  /** How often the last axis is repeated. */
  int64_t rows() const { return width() == 0 ? 0 : size() / width(); }
};

/** Attributes as read when TensorFlow makes a kernel. An operation uses those that it has. */
struct Attributes {
  float epsilon = 0;
  bool backward = false;
  bool transpose_a = false;
  bool transpose_b = false;
  bool with_head = false;
};

/** One run of an operation. */
class Run {
 public:
  Run(TF_OpKernelContext* context, const Attributes& attributes) : attributes(attributes), context_(context), status_(TF_NewStatus()) {}
  ~Run() {
    for (TF_Tensor* tensor : tensors_) TF_DeleteTensor(tensor);
    TF_DeleteStatus(status_);
  }
  Run(const Run&) = delete;

  const Attributes attributes;

  Array<const float> floats(int input) { return take<const float>(input); }
  Array<const int32_t> integers(int input) { return take<const int32_t>(input); }

  /** Memory for a float output. */
  Array<float> output(int index, const std::vector<int64_t>& shape) { return allocate<float>(index, shape, TF_FLOAT); }
  Array<int32_t> integer_output(int index, const std::vector<int64_t>& shape) { return allocate<int32_t>(index, shape, TF_INT32); }

  /** Memory for a float output: that of one of the inputs `candidates` of the same shape where nobody else reads it, else new. Only for kernels that read each element of these before they write it. */
  Array<float> output_over(int index, const std::vector<int>& candidates, const std::vector<int64_t>& shape) {
    int forwarded = -1;
    TF_Tensor* tensor = TF_ForwardInputOrAllocateOutput(context_, candidates.data(), static_cast<int>(candidates.size()), index, shape.data(),
                                                        static_cast<int>(shape.size()), &forwarded, status_);
    return keep<float>(tensor, shape);
  }

  /** False, and the run has failed, where `condition` does not hold. */
  bool require(bool condition, const char* otherwise) {
    if (condition && TF_GetCode(status_) == TF_OK) return true;
    if (TF_GetCode(status_) == TF_OK) TF_SetStatus(status_, TF_INVALID_ARGUMENT, otherwise);
    TF_OpKernelContext_Failure(context_, status_);
    return false;
  }
  /** False, and the run has failed, where memory or an input was not to be had. */
  bool ready() { return require(true, ""); }

 private:
  template <typename T>
  Array<T> take(int input) {
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context_, input, &tensor, status_);
    std::vector<int64_t> shape;
    if (tensor != nullptr) {
      for (int axis = 0; axis < TF_NumDims(tensor); axis++) shape.push_back(TF_Dim(tensor, axis));
    }
    return keep<T>(tensor, shape);
  }
  template <typename T>
  Array<T> allocate(int index, const std::vector<int64_t>& shape, int dtype) {
    int64_t size = 1;
    for (int64_t length : shape) size *= length;
    return keep<T>(TF_AllocateOutput(context_, index, dtype, shape.data(), static_cast<int>(shape.size()), size * sizeof(T), status_), shape);
  }
  template <typename T>
  Array<T> keep(TF_Tensor* tensor, const std::vector<int64_t>& shape) {
    if (tensor == nullptr) return {nullptr, {0}};
    tensors_.push_back(tensor);
    return {static_cast<T*>(TF_TensorData(tensor)), shape};
  }

  TF_OpKernelContext* context_;
  TF_Status* status_;
  std::vector<TF_Tensor*> tensors_;
};

/** An operation as TensorFlow knows it. */
struct Operation {
  const char* name;
  std::vector<const char*> inputs;
  std::vector<const char*> outputs;
  std::vector<const char*> attributes;
  /** For each output the input whose shape it has, or -1. */
  void (*shapes)(TF_ShapeInferenceContext*, TF_Status*);
};

/** Shape function: output i has the shape of input `inputs[i]`; where one is -1, its shape is left unknown. */
template <int... inputs>
void shapes_of_inputs(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
  TF_ShapeHandle* shape = TF_NewShapeHandle();
  int output = 0;
  for (int input : {inputs...}) {
    if (input >= 0) {
      TF_ShapeInferenceContextGetInput(context, input, shape, status);
      TF_ShapeInferenceContextSetOutput(context, output, shape, status);
    }
    output++;
  }
  TF_DeleteShapeHandle(shape);
}

inline void read_attributes(TF_OpKernelConstruction* construction, Attributes* attributes) {
  // An operation without an attribute answers with an error, which is not one here.
  TF_Status* status = TF_NewStatus();
  float epsilon = 0;
  TF_OpKernelConstruction_GetAttrFloat(construction, "epsilon", &epsilon, status);
  if (TF_GetCode(status) == TF_OK) attributes->epsilon = epsilon;
  const auto read_flag = [&](const char* name, bool* flag) {
    unsigned char value = 0;
    TF_OpKernelConstruction_GetAttrBool(construction, name, &value, status);
    if (TF_GetCode(status) == TF_OK) *flag = value != 0;
  };
  read_flag("backward", &attributes->backward);
  read_flag("transpose_a", &attributes->transpose_a);
  read_flag("transpose_b", &attributes->transpose_b);
  read_flag("with_head", &attributes->with_head);
  TF_DeleteStatus(status);
}

/** Makes `operation`, computed by `compute` on CPUs, known to TensorFlow; returns what went wrong, or nothing. */
template <void (*compute)(Run&)>
std::string register_operation(const Operation& operation) {
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(operation.name);
  for (const char* input : operation.inputs) TF_OpDefinitionBuilderAddInput(definition, input);
  for (const char* output : operation.outputs) TF_OpDefinitionBuilderAddOutput(definition, output);
  for (const char* attribute : operation.attributes) TF_OpDefinitionBuilderAddAttr(definition, attribute);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, operation.shapes);
  TF_Status* status = TF_NewStatus();
  TF_RegisterOpDefinition(definition, status);
  if (TF_GetCode(status) == TF_OK) {
    auto create = [](TF_OpKernelConstruction* construction) -> void* {
      auto* attributes = new Attributes();
      read_attributes(construction, attributes);
      return attributes;
    };
    auto run = [](void* attributes, TF_OpKernelContext* context) {
      Run one(context, *static_cast<Attributes*>(attributes));
      compute(one);
    };
    auto destroy = [](void* attributes) { delete static_cast<Attributes*>(attributes); };
    TF_RegisterKernelBuilder(operation.name, TF_NewKernelBuilder(operation.name, "CPU", create, run, destroy), status);
  }
  const std::string problem = TF_GetCode(status) == TF_OK ? "" : std::string(operation.name) + ": " + TF_Message(status);
  TF_DeleteStatus(status);
  return problem;
}
