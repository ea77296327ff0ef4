#include "pipeline/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "base/cpu.h"
#include "base/file.h"
#include "dialects/dialects.h"
#include "pipeline/carry.h"
#include "pipeline/compare_tensors.h"
#include "pipeline/pipeline.h"
#include "quant/method.h"

namespace nbl::pipeline {
namespace {

using Clock = std::chrono::steady_clock;

// The formats that hold a weight exactly, for a refusal's last words: those that keep codes before plain values.
std::string exact_formats(const std::string& name, const QTensor& tensor) {
  std::string list, values;
  for (const dialects::Dialect* dialect : dialects::dialects()) {
    if (!dialect->can_write() || !dialect->can_represent(name, tensor).ok()) continue;
    if (dialect->id() == "huggingface") {
      values = "huggingface (as dense values)";
    } else {
      list += fmt::format("{}{}", list.empty() ? "" : ", ", dialect->id());
    }
  }
  if (!values.empty()) list += fmt::format("{}{}", list.empty() ? "" : ", ", values);
  return list;
}

// "tensor X: gptq cannot hold a codebook; the native format can" without its own advice.
std::string without_advice(std::string message) {
  const std::size_t semicolon = message.rfind(';');
  if (semicolon != std::string::npos && message.ends_with(" can")) message.resize(semicolon);
  return message;
}

class Job {
 public:
  Job(const Checkpoint& input, const ConvertOptions& options, const dialects::Dialect& dialect, Team& team,
      const ProgressFn& progress)
      : input_(input), options_(options), dialect_(dialect), team_(team), progress_(progress) {}

  Result<ConvertReport> run(const std::filesystem::path& output) {
    const auto start = Clock::now();
    report_.source_format = input_.format();
    report_.format = dialect_.id();
    NBL_ASSIGN(writer_, dialects::create(options_.format, output));
    writer_->set_threads(team_.size());
    NBL_TRY(carry_texts(input_, *writer_));
    NBL_TRY(copy_tensors());
    report_.written = report_.refused.empty();
    if (report_.written) {
      NBL_TRY(writer_->set_manifest(manifest()));
      NBL_TRY(report_progress(progress_, {"write", output.filename().string(), 0, 0}));
      auto hash = writer_->finish();
      if (!hash.ok() && hash.status().code() == Code::unsupported) {
        report_.refused.push_back(hash.status().message());
        report_.written = false;
      } else if (!hash.ok()) {
        return hash.status();
      } else {
        report_.output_sha256 = std::move(hash).value();
        report_.file_bytes = bytes_at(output);
      }
    }
    writer_.reset();
    report_.lossless = report_.written && report_.requantized.empty();
    // What rounding cost is known only from the file.
    if ((options_.verify || rounded_) && report_.written) NBL_TRY(verify(output));
    report_.peak_rss_bytes = peak_rss_bytes();
    report_.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return std::move(report_);
  }

 private:
  Status copy_tensors() {
    const std::vector<TensorInfo> infos = input_.tensors();
    report_.tensors = static_cast<int64_t>(infos.size());
    // Weights are read several at once, by as many threads, as long as they are together no larger than the largest: what is in
    // memory stays below a few times that one.
    int64_t largest = 0;
    for (const TensorInfo& info : infos) largest = std::max(largest, elements(info));
    for (std::size_t first = 0, last; first < infos.size(); first = last) {
      int64_t count = 0;
      for (last = first; last < infos.size() && (last == first || count + elements(infos[last]) <= largest); ++last)
        count += elements(infos[last]);
      std::vector<std::optional<Result<QTensor>>> read(last - first);
      team_.parallel_for(static_cast<int64_t>(read.size()), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const TensorInfo& info = infos[first + static_cast<std::size_t>(i)];
          if (is_matrix(info)) read[static_cast<std::size_t>(i)].emplace(input_.matrix(info.name));
        }
      });
      for (std::size_t i = first; i < last; ++i) {
        NBL_TRY(report_progress(progress_, {"convert", infos[i].name, static_cast<int64_t>(i), report_.tensors}));
        if (auto& tensor = read[i - first]) {
          NBL_TRY(tensor->status());
          NBL_TRY(matrix(infos[i].name, **tensor));
          tensor.reset();
        } else {
          NBL_ASSIGN(const Array array, input_.array(infos[i].name));
          NBL_TRY(add_array(infos[i].name, array));
        }
      }
      MappedFile::release_pages();  // of the input: it is read once
    }
    return {};
  }

  static int64_t elements(const TensorInfo& info) {
    const auto count = element_count(info.shape);
    return count.ok() ? *count : 0;
  }

  Status add_array(const std::string& name, const Array& array) {
    Status status = writer_->add_array(name, array);
    if (status.code() != Code::unsupported) return status;
    if (options_.allow_lossy && report_.refused.empty()) {
      writer_->set_rounding(true);
      Status rounded = writer_->add_array(name, array);
      writer_->set_rounding(false);
      if (rounded.ok()) {
        rounded_ = true;
        report_.requantized.push_back({name, status.message(), "rounding", dtype_name(array.dtype)});
      }
      if (rounded.code() != Code::unsupported) return rounded;
    }
    report_.refused.push_back(status.message());
    return {};
  }

  Status matrix(const std::string& name, const QTensor& tensor) {
    // Once something is refused there will be no output: the rest is only asked.
    Status status =
        report_.refused.empty() ? writer_->add_matrix(name, tensor) : dialect_.can_represent(name, tensor);
    if (status.code() != Code::unsupported) return status;
    const std::string reason = without_advice(status.message());
    if (options_.allow_lossy && report_.refused.empty()) {
      NBL_ASSIGN(const bool done, requantize(name, tensor, reason));
      if (done) return {};
    }
    const std::string others = exact_formats(name, tensor);
    report_.refused.push_back(others.empty() ? reason
                                             : fmt::format("{}; these formats hold it exactly: {}", reason, others));
    return {};
  }

  Result<bool> requantize(const std::string& name, const QTensor& tensor, const std::string& reason) {
    std::vector<float> values(static_cast<std::size_t>(tensor.n * tensor.k));
    const auto scale = tensor.input_scale.as<float>();
    team_.parallel_for(tensor.n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        float* row = values.data() + r * tensor.k;
        tensor.dequantize_row(r, row);
        for (std::size_t c = 0; c < scale.size(); ++c) row[c] *= scale[c];
      }
    });
    quant::LinearTask task{name, tensor.n, tensor.k, values, nullptr};
    quant::MethodContext context;
    context.team = &team_;
    context.progress = progress_;
    for (const std::string& text : dialect_.closest_recipes(tensor)) {
      NBL_ASSIGN(const quant::Recipe recipe, quant::parse_recipe(text));
      NBL_ASSIGN(const quant::LinearResult result, recipe.method->quantize(task, recipe.options, context));
      const Status status = writer_->add_matrix(name, result.tensor);
      if (status.code() == Code::unsupported) continue;
      NBL_TRY(status);
      Requantized entry{name, reason, text, result.tensor.description(), 0, result.error};
      entry.max_abs_difference = max_difference(tensor, result.tensor, team_);
      report_.max_abs_difference = std::max(report_.max_abs_difference, entry.max_abs_difference);
      report_.requantized.push_back(std::move(entry));
      return true;
    }
    return false;
  }

  Json manifest() const {
    Json m = Json::object();
    m.set("software", "nibble");
    if (!options_.version.empty()) m.set("version", options_.version);
    m.set("job", "convert");
    m.set("source_format", report_.source_format);
    m.set("format", report_.format);
    m.set("lossless", report_.requantized.empty());
    if (!options_.measured.is_null()) m.set("measured", options_.measured);
    if (!report_.requantized.empty()) {
      Json list = Json::array();
      for (const Requantized& each : report_.requantized) list.push_back(requantized_json(each));
      m.set("requantized", std::move(list));
    }
    if (!input_.has_asset("manifest.json")) return m;
    // How the source was made stays known; its hashes are those of other bytes.
    const auto text = input_.asset("manifest.json");
    if (!text.ok()) return m;
    auto source = Json::parse(*text, "manifest.json");
    if (!source.ok() || !source->is_object()) return m;
    source->erase("sha256");
    source->erase("metadata_sha256");
    m.set("source", std::move(source).value());
    return m;
  }

  Status verify(const std::filesystem::path& output) {
    auto opened = dialects::open(output);
    if (!opened.ok()) return opened.status().with_context("the output cannot be read back");
    NBL_ASSIGN(TensorComparison compared, compare_tensors(input_, **opened, team_, progress_));
    report_.tensors_checked = compared.tensors;
    report_.codes_checked = compared.codes;
    report_.max_abs_difference = compared.max_abs_difference;
    for (std::string& each : compared.differences) {
      const auto known = [&](const Requantized& r) { return each.starts_with("tensor " + r.name + ":"); };
      if (std::any_of(report_.requantized.begin(), report_.requantized.end(), known)) continue;
      report_.lossless = false;
      report_.differences.push_back(std::move(each));
    }
    return {};
  }

 public:
  static Json requantized_json(const Requantized& r) {
    Json j = Json::object();
    j.set("name", r.name);
    j.set("reason", r.reason);
    j.set("recipe", r.recipe);
    j.set("encoding", r.encoding);
    j.set("max_abs_difference", r.max_abs_difference);
    j.set("relative_error", r.relative_error);
    return j;
  }

 private:
  const Checkpoint& input_;
  const ConvertOptions& options_;
  const dialects::Dialect& dialect_;
  Team& team_;
  const ProgressFn& progress_;
  std::unique_ptr<CheckpointWriter> writer_;
  bool rounded_ = false;
  ConvertReport report_;
};

Json strings(const std::vector<std::string>& list) {
  Json json = Json::array();
  for (const std::string& each : list) json.push_back(each);
  return json;
}

}  // namespace

Json to_json(const ConvertReport& report) {
  Json j = Json::object();
  j.set("source_format", report.source_format);
  j.set("format", report.format);
  j.set("written", report.written);
  j.set("lossless", report.lossless);
  j.set("tensors", report.tensors);
  j.set("tensors_checked", report.tensors_checked);
  j.set("codes_checked", report.codes_checked);
  j.set("max_abs_difference", report.max_abs_difference);
  j.set("refused", strings(report.refused));
  Json requantized = Json::array();
  for (const Requantized& each : report.requantized) requantized.push_back(Job::requantized_json(each));
  j.set("requantized", std::move(requantized));
  j.set("differences", strings(report.differences));
  j.set("file_bytes", report.file_bytes);
  j.set("seconds", report.seconds);
  j.set("peak_rss_bytes", report.peak_rss_bytes);
  j.set("output_sha256", report.output_sha256);
  return j;
}

Result<ConvertReport> convert(const Checkpoint& input, const std::filesystem::path& output,
                              const ConvertOptions& options, Team& team, const ProgressFn& progress) {
  auto dialect = dialects::find_dialect(options.format);
  if (!dialect.ok()) return Status(Code::invalid_argument, dialect.status().message());
  if (!(*dialect)->can_write()) {
    return Status(Code::invalid_argument, fmt::format("format {} can be read, not written", options.format));
  }
  NBL_TRY(spare_input(input, output));
  return Job(input, options, **dialect, team, progress).run(output);
}

}  // namespace nbl::pipeline
