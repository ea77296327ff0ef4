#include "tensor/scale_codes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"

namespace nbl {
namespace {

Result<Storage> stored(std::span<const float> values, DType type) {
  NBL_ASSIGN(Buffer buffer, Buffer::create(values.size() * static_cast<std::size_t>(dtype_bytes(type))));
  convert_from_f32(values.data(), static_cast<int64_t>(values.size()), type, buffer.data());
  return Storage::own(std::move(buffer));
}

std::vector<float> floats(DType type, const Storage& storage, int64_t count) {
  std::vector<float> out(static_cast<std::size_t>(count));
  convert_to_f32(type, storage.data(), count, out.data());
  return out;
}

}  // namespace

int64_t ScaleCodes::block_count(int64_t n, int64_t group_count) const noexcept {
  if (rows == 0) return ceil_div(n * group_count, groups);
  return ceil_div(n, rows) * ceil_div(group_count, groups);
}

int64_t ScaleCodes::code_bytes(int64_t n, int64_t group_count) const noexcept {
  return ceil_div(n * group_count * bits, 8);
}

int64_t ScaleCodes::super_bytes(int64_t n, int64_t group_count) const noexcept {
  return block_count(n, group_count) * dtype_bytes(super_type);
}

int64_t ScaleCodes::stored_bits(int64_t n, int64_t group_count) const noexcept {
  return n * group_count * bits + 8 * super_bytes(n, group_count) * (addends.empty() ? 1 : 2);
}

Status ScaleCodes::validate(int64_t n, int64_t group_count, const std::string& what) const {
  const auto bad = [&](std::string text) { return Status(Code::corrupt, fmt::format("{}: {}", what, text)); };
  if (bits < 0 || bits > 8) return bad(fmt::format("codes of {} bits where 0 to 8 are possible", bits));
  if (rows < 0 || groups < 1 || rows > (int64_t{1} << 31) || groups > (int64_t{1} << 31)) {
    return bad(fmt::format("blocks of {} x {}", rows, groups));
  }
  if (offset < -256 || offset > 256 || !std::isfinite(shift)) return bad(fmt::format("offset {}, shift {}", offset, shift));
  if (super_type != DType::f32 && super_type != DType::f16 && super_type != DType::bf16) {
    return bad(fmt::format("super-scales cannot be of type {}", dtype_name(super_type)));
  }
  const auto size = [&](const char* part, const Storage& s, int64_t expected) {
    if (static_cast<int64_t>(s.size()) == expected) return Status();
    return bad(fmt::format("{} take {} bytes where the shape asks for {}", part, s.size(), expected));
  };
  NBL_TRY(size("codes", codes, code_bytes(n, group_count)));
  NBL_TRY(size("super-scales", supers, super_bytes(n, group_count)));
  if (!addends.empty()) NBL_TRY(size("addends", addends, super_bytes(n, group_count)));
  if (!table.empty()) NBL_TRY(size("a table's entries", table, table_bytes()));
  if (!table.empty() && bits == 0) return bad("a table without codes");
  return {};
}

uint32_t ScaleCodes::code_at(int64_t index) const noexcept {
  const int64_t position = index * bits, byte = position / 8;
  uint32_t two = static_cast<uint32_t>(codes.data()[byte]);
  if (position % 8 + bits > 8) two |= static_cast<uint32_t>(codes.data()[byte + 1]) << 8;
  return (two >> (position % 8)) & ((1u << bits) - 1u);
}

std::vector<float> ScaleCodes::expand(int64_t n, int64_t group_count) const {
  std::vector<float> out(static_cast<std::size_t>(n * group_count));
  const int64_t blocks = block_count(n, group_count), across = rows == 0 ? 0 : ceil_div(group_count, groups);
  const std::vector<float> super = floats(super_type, supers, blocks);
  const std::vector<float> added = addends.empty() ? std::vector<float>() : floats(super_type, addends, blocks);
  const auto entries = table.as<float>();
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t g = 0; g < group_count; ++g) {
      const int64_t i = r * group_count + g;
      const auto block = static_cast<std::size_t>(rows == 0 ? i / groups : r / rows * across + g / groups);
      float value = super[block];
      if (bits > 0) {
        const uint32_t code = code_at(i);
        value *= table.empty() ? static_cast<float>(static_cast<int>(code) - offset) : entries[code];
      }
      if (!added.empty()) {
        value += added[block];
      } else if (shift != 0) {
        value += shift;
      }
      out[static_cast<std::size_t>(i)] = value;
    }
  }
  return out;
}

Result<ScaleCodes> make_scale_codes(int64_t n, int64_t group_count, ScaleCodes form, const ScaleCodeParts& parts) {
  if (static_cast<int64_t>(parts.codes.size()) != (form.bits == 0 ? 0 : n * group_count)) {
    return Status(Code::invalid_argument, fmt::format("{} codes for {} x {} scales", parts.codes.size(), n, group_count));
  }
  if (form.bits > 0) {
    NBL_ASSIGN(Buffer buffer, Buffer::create(static_cast<std::size_t>(form.code_bytes(n, group_count))));
    auto* bytes = reinterpret_cast<uint8_t*>(buffer.data());
    uint8_t all = 0;
    for (const uint8_t code : parts.codes) all |= code;
    if (all >> form.bits != 0) {
      const uint8_t largest = *std::max_element(parts.codes.begin(), parts.codes.end());
      return Status(Code::invalid_argument, fmt::format("scale code {} does not fit {} bits", largest, form.bits));
    }
    // Eight codes of b bits are b bytes; the rest goes one by one.
    const std::size_t whole = parts.codes.size() / 8 * 8, width = static_cast<std::size_t>(form.bits);
    for (std::size_t i = 0; i < whole; i += 8) {
      uint64_t stream = 0;
      for (std::size_t j = 0; j < 8; ++j) stream |= uint64_t{parts.codes[i + j]} << (j * width);
      for (std::size_t b = 0; b < width; ++b) bytes[i / 8 * width + b] = static_cast<uint8_t>(stream >> (8 * b));
    }
    for (std::size_t i = whole; i < parts.codes.size(); ++i) {
      const uint32_t code = parts.codes[i];
      const std::size_t position = i * static_cast<std::size_t>(form.bits), byte = position / 8, shift = position % 8;
      bytes[byte] = static_cast<uint8_t>(bytes[byte] | code << shift);
      if (shift + static_cast<std::size_t>(form.bits) > 8) {
        bytes[byte + 1] = static_cast<uint8_t>(bytes[byte + 1] | code >> (8 - shift));
      }
    }
    form.codes = Storage::own(std::move(buffer));
  }
  NBL_ASSIGN(form.supers, stored(parts.supers, form.super_type));
  if (!parts.addends.empty()) {
    NBL_ASSIGN(form.addends, stored(parts.addends, form.super_type));
  }
  if (!parts.table.empty()) {
    NBL_ASSIGN(form.table, stored(parts.table, DType::f32));
  }
  NBL_TRY(form.validate(n, group_count, "quantized scales"));
  return form;
}

}  // namespace nbl
