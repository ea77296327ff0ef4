// Names and rows between GGUF and the Hugging Face checkpoint of the same model, in both directions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/status.h"
#include "dialects/gguf_arch.h"
#include "dialects/gguf_blocks.h"
#include "io/container.h"

namespace nbl::dialects {

/// The name on the other side, what is changed on the way, and which of the experts it is (in GGUF they share a tensor).
struct GgufPlace {
  std::string name;
  GgufChange change = GgufChange::none;
  int64_t expert = -1;
};

/// "blk.12.attn_q.weight" -> "model.layers.12.self_attn.q_proj.weight"; of experts, a name that has "{e}".
std::optional<GgufPlace> gguf_to_hf(const GgufArch& arch, std::string_view name);
/// The inverse.
std::optional<GgufPlace> hf_to_gguf(const GgufArch& arch, std::string_view name);
/// The name of one expert's matrix.
std::string with_expert(std::string_view name, int64_t expert);

/// The architecture that holds models of this config. Code::unsupported, with the reason and the closest choice, when GGUF has
/// none that is known here, or cannot say what the config says.
Result<const GgufArch*> gguf_arch_of(const Json& config);
/// The architecture of a file; null when it is not known.
const GgufArch* gguf_arch_of(const io::Container& container, std::string_view id);

/// For row r of the Hugging Face tensor, the row of the file; empty when rows lie as they are. Code::mismatch when `rows`
/// do not go with the config's heads.
Result<RowMap> gguf_row_map(GgufChange change, int64_t rows, const Json& config);

}  // namespace nbl::dialects
