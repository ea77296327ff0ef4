// AWQ's tensors (qweight, qzeros, scales) in the layouts of its kernels. AutoRound's exports share the gemm one.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "dialects/hf_directory.h"

namespace nbl::dialects {

enum class AwqLayout : uint8_t { gemm, gemv, gemv_fast };

/// In a word of eight 4-bit codes, nibble i belongs to column kAwqNibble[i] of the eight.
inline constexpr int kAwqNibble[8] = {0, 2, 4, 6, 1, 3, 5, 7};

/// Scaled activations (of models whose activation function cannot absorb the scales): the tensor's name ends so, beside the linear
/// that reads the activation.
inline constexpr std::string_view kAwqActScales[] = {".act.scales", ".gelu_impl.scales"};
/// Whether a module of this name can read a scaled activation.
bool awq_reads_activation(std::string_view module) noexcept;

/// The layout of a quantization_config ("version"); marlin and unknown ones are refused by name, and so are widths but
/// 4 bits.
Result<AwqLayout> awq_layout(const Json& quantization, const std::string& origin);

std::unique_ptr<Packing> make_awq_packing(AwqLayout layout);

}  // namespace nbl::dialects
