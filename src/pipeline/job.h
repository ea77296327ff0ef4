// One quantization job. quantize.cpp runs it, job_linears.cpp does the work on a layer's linears, job_independent.cpp that on several
// layers at a time, job_model.cpp that on all of them together, job_resume.cpp keeps and reads the journal.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/arch.h"
#include "model/block.h"
#include "pipeline/journal.h"
#include "pipeline/memory_plan.h"
#include "pipeline/outer_weights.h"
#include "pipeline/output_moments.h"
#include "pipeline/overrides.h"
#include "pipeline/pipeline.h"
#include "pipeline/streams.h"
#include "quant/affine.h"

namespace nbl::pipeline {

/// One linear of one layer and what is to happen to it.
struct Plan {
  model::Part role;
  std::string name;                       ///< of the tensor, with ".weight"
  const quant::Recipe* recipe = nullptr;  ///< null: kept
  uint32_t needs = 0;
  quant::LinearPlace place;
  int64_t output_tokens = 0;  ///< over which its outputs' moments are to be measured
};

/// The linears of one layer, by input group.
struct LayerPlan {
  std::vector<model::InputGroup> inputs;  ///< of this layer, in the order of `groups`
  std::vector<std::vector<Plan>> groups;
  uint32_t needs = 0;
  quant::BlockLearning learning;  ///< of all its linears together, when they have one recipe that asks for it
  bool sequential = false;  ///< statistics of a group are gathered when the groups before it are quantized
};

using JobClock = std::chrono::steady_clock;
inline double seconds_since(JobClock::time_point start) {
  return std::chrono::duration<double>(JobClock::now() - start).count();
}

class Job {
 public:
  Job(const Checkpoint& input, const QuantizeOptions& options, Team& team, const ProgressFn& progress)
      : input_(input), options_(options), team_(team), progress_(progress) {}

  Result<QuantizeReport> run(const std::filesystem::path& output);

 private:
  Status plan();
  Status plan_memory_use(const std::filesystem::path& output);
  Status check_calibration();
  Status start_streams();
  Status measure_outputs(int64_t first_layer);
  Result<std::string> identity() const;
  Status open_journal(const std::filesystem::path& output);
  Status repeat(const FinishedLayer& done);
  Status work(const std::filesystem::path& output);
  Status add_matrix(const std::string& name, const QTensor& tensor);
  Status add_array(const std::string& name, const Array& array);
  Status process_layer(int64_t layer);
  bool independent(int64_t layer) const;
  Status process_independent(int64_t first, int64_t count);
  bool by_rows(int64_t layer) const;
  Status process_by_rows(int64_t first, int64_t count);
  struct Linear {
    const Plan* plan = nullptr;
    QTensor tensor;
    LayerReport report;
    std::shared_ptr<quant::AffineCodes> codes;
  };
  /// layer: for the moments of the linear's outputs; -1: without.
  Result<Linear> quantize_linear(const model::LayerWeights::Matrix& matrix, const Plan& plan, int64_t layer, const quant::InputStats* stats,
                                 Team& team, const ProgressFn& progress) const;
  Result<std::vector<Linear>> quantize_layer(int64_t layer, Team& team) const;
  Status check_finite(const model::LayerWeights& weights, const LayerPlan& plan, Team& team) const;
  Status check_finite(const model::LayerWeights::Matrix& matrix, const Plan& plan, Team& team) const;
  Status gather(const LayerPlan& plan, std::span<const std::size_t> groups, std::size_t next,
                std::vector<quant::InputStats>& stats);
  Status scale(model::LayerWeights& weights, const LayerPlan& plan, std::vector<quant::InputStats>& stats,
               std::vector<std::vector<float>>& input_scales);
  Status quantize_group(model::LayerWeights& weights, std::size_t group, const LayerPlan& plan, int64_t layer,
                        const quant::InputStats* stats, std::span<const float> input_scale);
  Status finish_linear(const Plan& plan, int64_t layer, const QTensor& tensor, LayerReport report);
  bool leaves_layer(int64_t layer) const { return layer < last_stats_layer_ || (model_learning_.epochs > 0 && layer == last_stats_layer_); }
  Status learn_model();
  Status learn(int64_t layer, const LayerPlan& plan, const model::LayerWeights& original, model::LayerWeights& weights);
  Status write_kept(const model::LayerWeights& weights, const LayerPlan& plan, int64_t layer);
  Status write_outer(const std::string& name, const quant::Recipe& recipe);
  Status copy_rest();
  Status tick(std::string_view stage, std::string_view detail) {
    return report_progress(progress_, {std::string(stage), std::string(detail), done_, total_});
  }

  const Checkpoint& input_;
  const QuantizeOptions& options_;
  Team& team_;
  const ProgressFn& progress_;
  const model::Architecture* arch_ = nullptr;
  model::Config config_;
  std::optional<Overrides> overrides_;
  OuterRecipes outer_;  ///< embeddings, output projection
  std::vector<LayerPlan> layers_;
  int64_t last_stats_layer_ = -1;  ///< the last layer whose inputs must be known
  uint32_t needs_ = 0;
  double original_share_ = 0;  ///< the largest that a method asks for
  std::optional<Streams> streams_;
  int64_t output_tokens_ = 0;  ///< the most that a method asks for, in whole windows
  std::optional<OutputMoments> output_moments_;
  MemoryPlan memory_;
  int64_t together_ = 1;  ///< layers that wait for nothing may be quantized side by side: so many
  std::optional<std::filesystem::path> spill_, spill_moments_;
  std::optional<Journal> journal_;
  FinishedLayer finished_;  ///< what the layer at hand has written, for the journal
  std::vector<Linear> pending_;  ///< of a block that is still being learned, not yet written
  /// Linears that are written when the whole model has been learned.
  struct Held {
    int64_t layer = 0;
    model::Part part;
    std::string name;
    QTensor tensor;
  };
  std::vector<Held> held_;
  quant::ModelLearning model_learning_;
  bool learning_ = false;  ///< some layer is learned
  std::unique_ptr<CheckpointWriter> writer_;
  std::set<std::string> written_;
  std::set<model::Part> scaled_;  ///< producers of the layer at hand that took another input's scales
  int64_t done_ = 0, total_ = 0;
  double stored_bytes_ = 0, weights_ = 0;
  QuantizeReport report_;
};

/// The stored values of a tensor, as the layer multiplies its input: into m.
void restore(const QTensor& tensor, Team& team, model::LayerWeights::Matrix* m);

}  // namespace nbl::pipeline
