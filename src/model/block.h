// One decoder layer on its own: what calibration runs, layer by layer, in float32.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/arch.h"
#include "tensor/checkpoint.h"

namespace nbl::model {

/// Sees the input of each InputGroup (index into layer_groups()): x [m, k] row-major, ldx floats a row. Called
/// from the thread that runs the block, outside any team; several times a group when the rows come in parts.
using InputObserver = std::function<Status(std::size_t group, const float* x, int64_t ldx, int64_t m, int64_t k)>;

/// The weights of one layer as plain float matrices, changeable: calibration folds scales into them and replaces them
/// by their quantized values.
struct LayerWeights {
  struct Matrix {
    int64_t n = 0, k = 0;
    std::vector<float> w;     ///< [n, k] row-major
    std::vector<float> bias;  ///< [n] or empty
    std::optional<Array> plain = {};  ///< [n, k] where the file has it, in place of `w`: only when asked for
  };
  struct NormWeights {
    std::vector<float> w, bias;
  };
  std::map<Part, Matrix> matrices;
  std::map<Role, NormWeights> norms;  ///< as they are multiplied: with Config::norm_offset
};
/// in_place: matrices that the checkpoint has as plain numbers are left there (Matrix::plain).
Result<LayerWeights> load_layer(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                                int64_t layer, bool in_place = false);

/// Runs one layer over whole windows from position 0: hidden [windows * length, hidden] in and out. Windows do not see
/// each other. Exact float32; same bytes for any team size. `layer` says which one it is, for models whose layers
/// differ.
Status run_layer(const LayerWeights& weights, const Architecture& arch, const Config& config, Team& team,
                 int64_t windows, int64_t length, float* hidden, const InputObserver& observer, int64_t layer = 0);

/// Token (and position) embeddings of windows of `length` tokens: hidden [ids.size(), hidden].
Status embed(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
             std::span<const text::TokenId> ids, int64_t length, float* hidden);

}  // namespace nbl::model
