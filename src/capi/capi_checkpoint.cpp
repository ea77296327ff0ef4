// Checkpoints: opening and inspecting.
#include <fmt/format.h>

#include <filesystem>

#include "base/file.h"
#include "base/hash.h"
#include "capi/handles.h"
#include "model/lora.h"
#include "pipeline/doctor.h"
#include "model/arch.h"
#include "pipeline/pipeline.h"

namespace nbl::capi {
namespace {

/// Of the elements of a dense tensor as stored, or of the packed parts of a quantized one, in their order.
Result<std::string> tensor_sha256(const Checkpoint& checkpoint, const TensorInfo& info) {
  if (info.shape.size() == 2 && info.group_size > 0) {
    NBL_ASSIGN(const QTensor tensor, checkpoint.matrix(info.name));
    Sha256 hash;
    for (const Segment& s : tensor.segments) {
      hash.update(s.codes.bytes());
      hash.update(s.scales.bytes());
      hash.update(s.zeros.bytes());
    }
    hash.update(tensor.column_order.bytes());
    hash.update(tensor.input_scale.bytes());
    if (tensor.outliers) {
      hash.update(tensor.outliers->row_offsets.bytes());
      hash.update(tensor.outliers->columns.bytes());
      hash.update(tensor.outliers->values.bytes());
    }
    return hash.finish_hex();
  }
  NBL_ASSIGN(const Array array, checkpoint.array(info.name));
  return sha256_hex(array.storage.bytes());
}

Status inspect(const RuntimeState& runtime, const Checkpoint& checkpoint, uint32_t flags, Json* out) {
  Json j = result_header(runtime);
  j.set("format", checkpoint.format());
  const auto arch = model::find_architecture(checkpoint.config(), checkpoint.origin());
  if (arch.ok()) {
    j.set("architecture", (*arch)->id);
  } else {
    const Json* type = checkpoint.config().find_value("model_type");
    j.set("architecture", type != nullptr ? Json(type->as_string()) : Json());
  }
  int64_t parameters = 0, bytes = 0;
  Json tensors = Json::array();
  for (const TensorInfo& info : checkpoint.tensors()) {
    NBL_ASSIGN(const int64_t count, element_count(info.shape));
    parameters += count;
    bytes += info.bytes;
    if ((flags & (NBL_INSPECT_TENSORS | NBL_INSPECT_HASH)) == 0) continue;
    Json t = Json::object();
    t.set("name", info.name);
    Json shape = Json::array();
    for (const int64_t d : info.shape) shape.push_back(d);
    t.set("shape", std::move(shape));
    t.set("encoding", info.encoding);
    t.set("bits", info.bits);
    t.set("group_size", info.group_size);
    t.set("bytes", info.bytes);
    if ((flags & NBL_INSPECT_HASH) != 0) {
      NBL_ASSIGN(std::string hash, tensor_sha256(checkpoint, info));
      t.set("sha256", std::move(hash));
    }
    tensors.push_back(std::move(t));
  }
  j.set("parameters", parameters);
  j.set("file_bytes", checkpoint.file_bytes());
  j.set("bits_per_weight", parameters > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters) : 0.0);
  j.set("tensors", std::move(tensors));
  Json assets = Json::array();
  for (const std::string& name : checkpoint.asset_names()) assets.push_back(name);
  j.set("assets", std::move(assets));
  j.set("config", checkpoint.config());
  Json warnings = Json::array();
  for (const std::string& warning : checkpoint.warnings()) warnings.push_back(warning);
  if (!arch.ok()) warnings.push_back(arch.status().message());
  j.set("warnings", std::move(warnings));
  *out = std::move(j);
  return {};
}

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_checkpoint_open(nbl_runtime* runtime, const char* path, nbl_checkpoint** out_checkpoint) {
  if (out_checkpoint != nullptr) *out_checkpoint = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(path, "path"));
    NBL_TRY(require(out_checkpoint, "out_checkpoint"));
    NBL_ASSIGN(auto checkpoint, nbl::pipeline::open_checkpoint(path));
    for (const std::string& warning : checkpoint->warnings()) runtime->state->warn(warning);
    *out_checkpoint = new nbl_checkpoint{runtime->state, std::move(checkpoint)};
    return {};
  });
}

nbl_status nbl_checkpoint_add_adapter(nbl_checkpoint* checkpoint, const char* path, float scale,
                                      nbl_checkpoint** out_checkpoint) {
  if (out_checkpoint != nullptr) *out_checkpoint = nullptr;
  return guard(checkpoint, [&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(path, "path"));
    NBL_TRY(require(out_checkpoint, "out_checkpoint"));
    NBL_ASSIGN(auto adapter, nbl::model::load_lora(path, scale));
    NBL_ASSIGN(auto merged, nbl::model::merge_lora(checkpoint->checkpoint, std::move(adapter)));
    *out_checkpoint = new nbl_checkpoint{checkpoint->runtime, std::move(merged)};
    return {};
  });
}

void nbl_checkpoint_destroy(nbl_checkpoint* checkpoint) { delete checkpoint; }

nbl_status nbl_checkpoint_inspect(nbl_checkpoint* checkpoint, uint32_t flags, nbl_buffer** out_json) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard(checkpoint, [&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(out_json, "out_json"));
    if ((flags & ~static_cast<uint32_t>(NBL_INSPECT_TENSORS | NBL_INSPECT_HASH | NBL_INSPECT_MANIFEST)) != 0) {
      return {Code::invalid_argument, fmt::format("flags is {}; NBL_INSPECT_* was expected", flags)};
    }
    Json j;
    NBL_TRY(inspect(*checkpoint->runtime, *checkpoint->checkpoint, flags, &j));
    if ((flags & NBL_INSPECT_MANIFEST) != 0) {
      const nbl::Checkpoint& c = *checkpoint->checkpoint;
      constexpr const char* kInFile = "manifest.json";  // a text of a native file; a file of a directory
      const std::filesystem::path file = std::filesystem::path(c.origin()) / "nibble_manifest.json";
      std::error_code ec;
      std::string text;
      if (c.has_asset(kInFile)) {
        NBL_ASSIGN(text, c.asset(kInFile));
      } else if (std::filesystem::is_regular_file(file, ec)) {
        NBL_ASSIGN(text, nbl::read_text_file(file, int64_t{64} << 20));
      }
      if (!text.empty()) {
        NBL_ASSIGN(Json manifest, Json::parse(text, c.origin() + ": its manifest"));
        j.set("manifest", std::move(manifest));
      }
    }
    *out_json = make_json_buffer(j);
    return {};
  });
}

nbl_status nbl_checkpoint_verify(nbl_checkpoint* checkpoint, nbl_progress_fn progress, void* progress_user,
                                 int32_t* out_ok, nbl_buffer** out_json) {
  if (out_ok != nullptr) *out_ok = 0;
  if (out_json != nullptr) *out_json = nullptr;
  return guard(checkpoint, [&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(out_ok, "out_ok"));
    Monitor monitor(checkpoint->runtime, progress, progress_user);
    const auto differences = checkpoint->checkpoint->verify(monitor.fn());
    NBL_TRY(monitor.outcome(differences.status()));
    Json j = result_header(*checkpoint->runtime);
    j.set("ok", differences->empty());
    Json list = Json::array();
    for (const std::string& each : *differences) list.push_back(each);
    j.set("differences", std::move(list));
    if (out_json != nullptr) *out_json = make_json_buffer(j);
    *out_ok = differences->empty() ? 1 : 0;
    return {};
  });
}

nbl_status nbl_checkpoint_examine(nbl_checkpoint* checkpoint, const char* calibration_text, size_t size,
                                  nbl_progress_fn progress, void* progress_user, nbl_buffer** out_json) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard(checkpoint, [&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(out_json, "out_json"));
    if (size > 0) NBL_TRY(require(calibration_text, "calibration_text"));
    Monitor monitor(checkpoint->runtime, progress, progress_user);
    nbl::pipeline::DoctorOptions options;
    options.calibration_text = {calibration_text, size};
    const auto checks = nbl::pipeline::examine(*checkpoint->checkpoint, options, monitor.fn());
    NBL_TRY(monitor.outcome(checks.status()));
    Json j = result_header(*checkpoint->runtime);
    Json list = Json::array();
    for (const nbl::pipeline::Check& c : *checks) {
      list.push_back(Json::object({{"name", c.name}, {"status", c.status}, {"detail", c.detail}}));
    }
    j.set("checks", std::move(list));
    *out_json = make_json_buffer(j);
    return {};
  });
}

}  // extern "C"
