#include "io/safetensors_types.h"

#include "io/container.h"

#include <fmt/format.h>

namespace nbl::io {
namespace {

struct Type {
  std::string_view name;
  int bits;
  std::optional<DType> dtype;
};

constexpr std::optional<DType> kNone = std::nullopt;
constexpr Type kTypes[] = {
    {"BOOL", 8, DType::u8},      {"F4", 4, kNone},          {"F6_E2M3", 6, kNone},     {"F6_E3M2", 6, kNone},
    {"U8", 8, DType::u8},        {"I8", 8, DType::i8},      {"F8_E5M2", 8, kNone},     {"F8_E4M3", 8, DType::e4m3},
    {"F8_E8M0", 8, DType::e8m0}, {"F8_E4M3FNUZ", 8, kNone}, {"F8_E5M2FNUZ", 8, kNone}, {"I16", 16, DType::i16},
    {"U16", 16, kNone},          {"F16", 16, DType::f16},   {"BF16", 16, DType::bf16}, {"I32", 32, DType::i32},
    {"U32", 32, kNone},          {"F32", 32, DType::f32},   {"C64", 64, kNone},        {"F64", 64, DType::f64},
    {"I64", 64, DType::i64},     {"U64", 64, kNone},
};

}  // namespace

int safetensors_type_bits(std::string_view type) noexcept {
  for (const Type& t : kTypes) {
    if (t.name == type) return t.bits;
  }
  return 0;
}

std::optional<DType> safetensors_dtype(std::string_view type) noexcept {
  for (const Type& t : kTypes) {
    if (t.name == type) return t.dtype;
  }
  return std::nullopt;
}

const char* safetensors_type_name(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::e4m3:
      return "F8_E4M3";
    case DType::f64:
      return "F64";
    case DType::i8:
      return "I8";
    case DType::u8:
      return "U8";
    case DType::i16:
      return "I16";
    case DType::i32:
      return "I32";
    case DType::i64:
      return "I64";
    case DType::e8m0:
      return "F8_E8M0";
  }
  return "U8";
}

Result<Array> to_array(const RawTensor& tensor) {
  const std::optional<DType> dtype = safetensors_dtype(tensor.type);  // GGUF's plain types have the same names
  if (!dtype) {
    return Status(Code::unsupported, fmt::format("{}: tensor {} is of type {}, which is no plain array of numbers",
                                                 tensor.file, tensor.name, tensor.type));
  }
  NBL_ASSIGN(const int64_t count, element_count(tensor.shape));
  if (count * dtype_bytes(*dtype) != static_cast<int64_t>(tensor.bytes.size())) {
    return Status(Code::internal, fmt::format("{}: tensor {} of shape {} stands on {} bytes", tensor.file, tensor.name,
                                              shape_string(tensor.shape), tensor.bytes.size()));
  }
  NBL_ASSIGN(const RawTensor loaded, load(tensor));
  if (*dtype != DType::f64) return Array{*dtype, tensor.shape, loaded.bytes};
  NBL_ASSIGN(Buffer narrow, Buffer::create(static_cast<std::size_t>(count) * 4));
  convert_to_f32(DType::f64, loaded.bytes.data(), count, narrow.as<float>().data());
  return Array{DType::f32, tensor.shape, Storage::own(std::move(narrow))};
}

}  // namespace nbl::io
