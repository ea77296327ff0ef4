#include "pipeline/job.h"

#include <fmt/format.h>
#include <unistd.h>

#include <set>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory_files.h"
#include "pipeline/quantize_report.h"

namespace nbl::pipeline {

using model::LayerWeights;
using model::TensorSpec;

/// Everything that decides the output's bytes, in one text.
Result<std::string> Job::identity() const {
  const bool calibrated = last_stats_layer_ >= 0;
  Json job = make_manifest(input_, options_, report_, calibrated);
  job.set("format", options_.format);
  job.set("lm_head", options_.include_lm_head);
  if (!options_.rotation.empty()) job.set("rotation", options_.rotation);
  Sha256 hash;
  const auto add = [&](std::string_view text) { hash.update(std::as_bytes(std::span(text.data(), text.size()))); };
  add(input_.config().dump());
  for (const TensorInfo& info : input_.tensors())
    add(fmt::format("{} {} {} {}\n", info.name, shape_string(info.shape), info.encoding, info.bytes));
  // The weights themselves would take long to hash: when the files were last changed stands for them.
  std::error_code ec;
  const std::filesystem::path origin(input_.origin());
  const auto changed = [&](const std::filesystem::path& file) {
    const auto time = std::filesystem::last_write_time(file, ec);
    if (!ec) add(fmt::format("{} {}\n", file.filename().string(), time.time_since_epoch().count()));
  };
  if (is_memory_path(origin)) {  // its number and this process stand for the content
    add(fmt::format("{} {}\n", origin.string(), ::getpid()));
  } else if (std::filesystem::is_directory(origin, ec)) {
    for (const std::string& name : directory_names(origin)) changed(origin / name);
  } else {
    changed(origin);
  }
  job.set("input_sha256", hash.finish_hex());
  return job.dump();
}

Status Job::open_journal(const std::filesystem::path& output) {
  if (last_stats_layer_ < 0 && !options_.resume) return {};  // quicker to do again than to write twice
  NBL_ASSIGN(const std::string job, identity());
  if (options_.resume) remove_stale_temporaries(output);
  NBL_ASSIGN(journal_, Journal::open(output, job, options_.resume));
  return {};
}

/// A layer that an earlier run finished: written again, and its calibration tokens sent through it.
Status Job::repeat(const FinishedLayer& done) {
  NBL_TRY(tick("resume", fmt::format("layer {}", done.layer)));
  const bool running = streams_ && leaves_layer(done.layer);
  LayerWeights weights;
  if (running) {
    NBL_ASSIGN(weights, model::load_layer(input_, *arch_, config_, done.layer));
    NBL_TRY(streams_->begin_layer(weights, done.layer));
  }
  std::set<std::string> quantized;
  for (const LayerReport& r : done.reports) quantized.insert(r.name);
  for (const auto& [name, tensor] : done.matrices) {
    const Plan* held = nullptr;
    if (model_learning_.epochs > 0) {
      for (const auto& plans : layers_[static_cast<std::size_t>(done.layer)].groups)
        for (const Plan& p : plans)
          if (p.name == name && p.recipe != nullptr) held = &p;
    }
    if (held != nullptr) {
      held_.push_back({done.layer, held->role, name, tensor});
    } else {
      NBL_TRY(writer_->add_matrix(name, tensor));
    }
    written_.insert(name);
    if (quantized.contains(name)) {
      stored_bytes_ += static_cast<double>(tensor.stored_bytes());
      weights_ += static_cast<double>(tensor.n) * static_cast<double>(tensor.k);
      ++done_;
    }
  }
  for (const auto& [name, array] : done.arrays) {
    NBL_TRY(writer_->add_array(name, array));
    written_.insert(name);
  }
  report_.layers.insert(report_.layers.end(), done.reports.begin(), done.reports.end());
  ++report_.resumed_layers;
  if (!running) return {};
  const auto stored_array = [&](const std::string& name, std::vector<float>* to) -> Status {
    for (const auto& [stored, array] : done.arrays) {
      if (stored != name) continue;
      NBL_ASSIGN(*to, array.to_f32());
    }
    return {};
  };
  for (auto& [part, matrix] : weights.matrices) {
    const TensorSpec* spec = arch_->find(part.role, config_);
    const std::string weight = model::tensor_name(*spec, done.layer, "weight", part.expert);
    for (const auto& [name, tensor] : done.matrices)
      if (name == weight) restore(tensor, team_, &matrix);
    NBL_TRY(stored_array(model::tensor_name(*spec, done.layer, "bias", part.expert), &matrix.bias));
  }
  for (auto& [role, norm] : weights.norms) {
    const TensorSpec* spec = arch_->find(role, config_);
    std::vector<float> stored;
    NBL_TRY(stored_array(model::tensor_name(*spec, done.layer, "weight"), &stored));
    if (!stored.empty()) {
      for (float& w : stored) w += config_.norm_offset;
      norm.w = std::move(stored);
    }
    NBL_TRY(stored_array(model::tensor_name(*spec, done.layer, "bias"), &norm.bias));
  }
  NBL_TRY(streams_->reload(weights));
  return streams_->end_layer([&](int64_t w) {
    return tick("resume", fmt::format("layer {}, window {} of {}", done.layer, w, options_.calibration.windows));
  });
}

}  // namespace nbl::pipeline
