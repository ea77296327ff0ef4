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

namespace nbl::dialects {

/// "blk.12.attn_q.weight" -> "model.layers.12.self_attn.q_proj.weight" and what was changed on the way in.
std::optional<std::pair<std::string, GgufChange>> gguf_to_hf(const GgufArch& arch, std::string_view name);
/// The inverse.
std::optional<std::pair<std::string, GgufChange>> hf_to_gguf(const GgufArch& arch, std::string_view name);

/// The architecture that holds models of this config; null when GGUF has none that is known here.
const GgufArch* gguf_arch_of(const Json& config);

/// For row r of the Hugging Face tensor, the row of the file; empty when rows lie as they are. Code::mismatch when `rows`
/// do not go with the config's heads.
Result<RowMap> gguf_row_map(GgufChange change, int64_t rows, const Json& config);

}  // namespace nbl::dialects
