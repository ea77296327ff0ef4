#include "pipeline/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <set>
#include <span>

#include "base/cpu.h"
#include "model/arch.h"
#include "text/assets.h"
#include "text/utf8.h"

namespace nbl::pipeline {
namespace {

using Checks = std::vector<Check>;

void add(Checks& checks, std::string name, std::string status, std::string detail) {
  checks.push_back({std::move(name), std::move(status), std::move(detail)});
}

std::string megabytes(double bytes) { return fmt::format("{:.1f} MB", bytes / 1e6); }

// A text of several scripts with numbers, blanks, line breaks and code.
constexpr std::string_view kSample =
    "The quick brown fox: 3.14, \"na\xC3\xAFve\" (\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E)\n\tdef f(x):  return x[0]\n";

void check_tokenizer(const text::Tokenizer& tokenizer, int64_t vocab, Checks& checks) {
  const auto ids = tokenizer.encode(kSample, {});
  if (!ids.ok()) return add(checks, "tokenizer", "fail", ids.status().message());
  const auto back = tokenizer.decode(*ids, false);
  if (!back.ok()) return add(checks, "tokenizer", "fail", back.status().message());
  const std::string what = fmt::format("{}, {} ids", tokenizer.kind(), tokenizer.vocab_size());
  if (vocab > 0 && tokenizer.vocab_size() > vocab) {
    return add(checks, "tokenizer", "fail",
               fmt::format("{}, but the model has {} embeddings: texts may give ids that it cannot take", what, vocab));
  }
  const auto trimmed = [](std::string_view s) {
    const std::size_t begin = std::min(s.find_first_not_of(' '), s.size());
    return s.substr(begin);
  };
  if (trimmed(*back) != trimmed(kSample)) {
    return add(checks, "tokenizer", "warning",
               fmt::format("{}; a sample text does not come back as it was (a vocabulary without bytes, or one that "
                           "changes letters)",
                           what));
  }
  add(checks, "tokenizer", "ok", fmt::format("{}; a sample text comes back as it was", what));
}

void check_marks(const text::Tokenizer& tokenizer, const model::Config* config, Checks& checks) {
  const auto special = tokenizer.encode("x", {.add_special = true, .parse_special = true});
  const auto bos = tokenizer.bos();
  const bool added = bos && special.ok() && !special->empty() && special->front() == *bos;
  if (!bos) {
    const bool wanted = config != nullptr && config->bos >= 0;
    add(checks, "bos", wanted ? "warning" : "ok",
        wanted
            ? fmt::format("the model names token {} as the beginning of a text, the tokenizer names none", config->bos)
            : "the tokenizer has none, and none is put before a text");
  } else if (config != nullptr && config->bos >= 0 && config->bos != *bos) {
    add(checks, "bos", "warning", fmt::format("the tokenizer's is {}, the model's config says {}", *bos, config->bos));
  } else {
    add(checks, "bos", "ok",
        fmt::format("{} ({}), {} put before a text", *bos, tokenizer.piece(*bos).ok() ? *tokenizer.piece(*bos) : "?",
                    added ? "which is" : "which is not"));
  }
  const auto eos = tokenizer.eos();
  std::vector<text::TokenId> ends = config == nullptr ? std::vector<text::TokenId>() : config->eos;
  if (ends.empty() && !eos) {
    add(checks, "eos", "warning",
        "neither the model nor the tokenizer names an end: generation stops at its limit only");
  } else if (!ends.empty() && eos && std::find(ends.begin(), ends.end(), *eos) == ends.end()) {
    add(checks, "eos", "warning",
        fmt::format("the model stops at {}, but the tokenizer's end of text is {}", fmt::join(ends, ", "), *eos));
  } else {
    if (ends.empty()) ends.push_back(*eos);
    add(checks, "eos", "ok", fmt::format("{}", fmt::join(ends, ", ")));
  }
}

/// Marks of the form <|x|> that the template writes and the vocabulary does not have.
std::string unknown_marks(std::string_view text, const text::Tokenizer& tokenizer) {
  std::set<std::string> unknown;
  for (std::size_t at = text.find("<|"); at != std::string_view::npos; at = text.find("<|", at + 2)) {
    const std::size_t end = text.find("|>", at);
    if (end == std::string_view::npos) break;
    const std::string mark(text.substr(at, end + 2 - at));
    if (mark.size() < 40 && mark.find(' ') == std::string::npos && !tokenizer.find(mark)) unknown.insert(mark);
  }
  return fmt::format("{}", fmt::join(unknown, ", "));
}

void check_template(const text::Assets& assets, const text::Tokenizer& tokenizer, Checks& checks) {
  const auto chat = text::load_chat_templates(assets, &tokenizer);
  if (!chat.ok()) return add(checks, "template", "fail", chat.status().message());
  if ((*chat)->empty()) {
    return add(checks, "template", "skipped", "there is none: a model that continues texts, or one for `--template`");
  }
  const auto message = [](const char* role, const char* content) {
    return Json::object({{"role", role}, {"content", content}});
  };
  Json one = Json::array(), system = Json::array(), turns = Json::array();
  one.push_back(message("user", "Hello"));
  system.push_back(message("system", "Be brief."));
  system.push_back(message("user", "Hello"));
  for (const char* role : {"user", "assistant", "user"}) turns.push_back(message(role, "Hello"));
  const Json prompt = Json::object({{"add_generation_prompt", true}});
  const auto open = (*chat)->apply(one, Json(), prompt);
  if (!open.ok()) return add(checks, "template", "fail", open.status().message());
  const auto several = (*chat)->apply(turns, Json(), prompt);
  if (!several.ok()) return add(checks, "template", "fail", several.status().message());
  const auto closed = (*chat)->apply(one, Json(), Json());
  std::string notes;
  if (!(*chat)->apply(system, Json(), prompt).ok()) notes += "; it refuses system messages";
  if (closed.ok() && *closed == *open) notes += "; add_generation_prompt changes nothing";
  if (open->find("Hello") == std::string::npos) {
    return add(checks, "template", "fail", "the template leaves the message's text out");
  }
  const std::string unknown = unknown_marks(*open, tokenizer);
  if (!unknown.empty()) {
    return add(checks, "template", "warning", fmt::format("it writes {}, which the vocabulary does not have", unknown));
  }
  add(checks, "template", "ok", fmt::format("it renders one message and several{}", notes));
}

// --- weights

struct WeightFindings {
  int64_t tensors = 0, not_finite = 0, dead_inputs = 0, dead_outputs = 0, inputs = 0, outputs = 0;
  std::string first_not_finite, first_dead, unreadable;
};

void look_at_rows(const TensorInfo& info, int64_t n, int64_t k, const std::function<const float*(int64_t)>& row,
                  WeightFindings& found) {
  std::vector<bool> alive(static_cast<std::size_t>(k), false);
  int64_t bad = 0, dead_rows = 0;
  for (int64_t r = 0; r < n; ++r) {
    const float* values = row(r);
    bool any = false;
    for (int64_t c = 0; c < k; ++c) {
      const float v = values[c];
      if (!std::isfinite(v)) {
        if (bad++ == 0 && found.first_not_finite.empty()) {
          found.first_not_finite = fmt::format("{} row {} column {}", info.name, r, c);
        }
      } else if (v != 0) {
        any = true;
        alive[static_cast<std::size_t>(c)] = true;
      }
    }
    dead_rows += any ? 0 : 1;
  }
  found.not_finite += bad;
  // Rows of an embedding belong to tokens, of which many are never used.
  const bool table = info.name.find("embed") != std::string::npos || info.name.find("wte") != std::string::npos ||
                     info.name.find("wpe") != std::string::npos || info.name.find("lm_head") != std::string::npos;
  if (n < 2) return;
  const auto dead_columns = static_cast<int64_t>(std::count(alive.begin(), alive.end(), false));
  found.inputs += k;
  found.dead_inputs += dead_columns;
  if (!table) {
    found.outputs += n;
    found.dead_outputs += dead_rows;
  }
  if (found.first_dead.empty() && (dead_columns > 0 || (!table && dead_rows > 0))) found.first_dead = info.name;
}

Status look_at(const Checkpoint& checkpoint, const TensorInfo& info, WeightFindings& found) {
  if (info.shape.size() == 2) {
    NBL_ASSIGN(const QTensor matrix, checkpoint.matrix(info.name));
    std::vector<float> values(static_cast<std::size_t>(matrix.k));
    look_at_rows(
        info, matrix.n, matrix.k,
        [&](int64_t r) {
          matrix.dequantize_row(r, values.data());
          return static_cast<const float*>(values.data());
        },
        found);
    return {};
  }
  NBL_ASSIGN(const Array array, checkpoint.array(info.name));
  NBL_ASSIGN(const std::vector<float> values, array.to_f32());
  look_at_rows(
      info, 1, static_cast<int64_t>(values.size()), [&](int64_t) { return values.data(); }, found);
  return {};
}

Status check_weights(const Checkpoint& checkpoint, const ProgressFn& progress, Checks& checks) {
  const std::vector<TensorInfo> tensors = checkpoint.tensors();
  WeightFindings found;
  for (const TensorInfo& info : tensors) {
    NBL_TRY(report_progress(progress, {"examine", info.name, found.tensors++, static_cast<int64_t>(tensors.size())}));
    const Status status = look_at(checkpoint, info, found);
    // Integer side tensors have no values of their own.
    if (!status.ok() && status.code() != Code::unsupported && found.unreadable.empty())
      found.unreadable = status.message();
  }
  if (!found.unreadable.empty()) {
    add(checks, "nan", "fail", found.unreadable);
  } else if (found.not_finite > 0) {
    add(checks, "nan", "fail",
        fmt::format("{} values are NaN or infinite, the first in {}", found.not_finite, found.first_not_finite));
  } else {
    add(checks, "nan", "ok", fmt::format("every value of {} tensors is finite", tensors.size()));
  }
  const int64_t dead = found.dead_inputs + found.dead_outputs;
  if (dead > 0) {
    add(checks, "dead_channels", "warning",
        fmt::format("{} of {} input channels and {} of {} output channels are zero throughout, first in {}: pruned, "
                    "padded or damaged; they cost bits and tell calibration nothing",
                    found.dead_inputs, found.inputs, found.dead_outputs, found.outputs, found.first_dead));
  } else {
    add(checks, "dead_channels", "ok",
        fmt::format("none among {} input and {} output channels", found.inputs, found.outputs));
  }
  return {};
}

// --- plans

void check_calibration(const text::Tokenizer* tokenizer, const DoctorOptions& options, Checks& checks) {
  if (options.calibration_text.empty()) {
    return add(checks, "calibration", "skipped", "no text was given (--calib FILE)");
  }
  if (tokenizer == nullptr) {
    return add(checks, "calibration", "fail", "without a tokenizer a text cannot be used; give token ids");
  }
  const bool valid = text::is_valid_utf8(options.calibration_text);
  const auto ids = tokenizer->encode(options.calibration_text, {.add_special = false, .parse_special = false});
  if (!ids.ok()) return add(checks, "calibration", "fail", ids.status().message());
  const auto tokens = static_cast<int64_t>(ids->size());
  if (tokens < 2) return add(checks, "calibration", "fail", fmt::format("the text holds {} tokens", tokens));
  const std::set<text::TokenId> distinct(ids->begin(), ids->end());
  const double share = 100.0 * static_cast<double>(distinct.size()) / static_cast<double>(tokenizer->vocab_size());
  const int64_t windows = std::min(options.windows, std::max<int64_t>(1, tokens / options.length));
  std::set<std::vector<text::TokenId>> different;
  for (int64_t w = 0; w < windows && (w + 1) * options.length <= tokens; ++w) {
    different.insert(
        std::vector<text::TokenId>(ids->begin() + w * options.length, ids->begin() + (w + 1) * options.length));
  }
  std::string detail = fmt::format("{} tokens, {} of {} windows of {}, {} distinct ids ({:.1f} % of the vocabulary)",
                                   tokens, windows, options.windows, options.length, distinct.size(), share);
  bool warn = false;
  const auto note = [&](std::string_view what) {
    detail += fmt::format("; {}", what);
    warn = true;
  };
  if (windows < options.windows)
    note("the text is too short for all windows: methods with second-order statistics will overfit");
  if (!valid) note("it is not valid UTF-8");
  if (different.size() > 1 && static_cast<int64_t>(different.size()) * 10 < windows * 9)
    note("many windows are the same");
  if (share < 2 && tokens > 1000) note("it covers little of the vocabulary: is it in the model's languages?");
  add(checks, "calibration", warn ? "warning" : "ok", std::move(detail));
}

void check_memory(const Checkpoint& checkpoint, const model::Config* config, const DoctorOptions& options,
                  Checks& checks) {
  double parameters = 0, largest_k = 0;
  for (const TensorInfo& info : checkpoint.tensors()) {
    double count = 1;
    for (const int64_t d : info.shape) count *= static_cast<double>(d);
    parameters += count;
    if (info.shape.size() == 2 && (config == nullptr || info.shape[1] != config->vocab)) {
      largest_k = std::max(largest_k, static_cast<double>(info.shape[1]));
    }
  }
  const auto physical = static_cast<double>(physical_memory_bytes());
  const auto file = static_cast<double>(checkpoint.file_bytes());
  double run = file, job = 0;
  if (config != nullptr && config->layers > 0) {
    const double layer =
        4 * (parameters - static_cast<double>(config->vocab * config->hidden)) / static_cast<double>(config->layers);
    const auto positions =
        static_cast<double>(config->max_positions > 0 ? std::min<int64_t>(config->max_positions, 4096) : 4096);
    const auto& latent = config->latent;
    const int64_t cached = latent.kv_rank > 0 ? 2 * latent.kv_rank + latent.rope_dim : 2 * config->kv_heads * config->head_dim;
    run += positions * static_cast<double>(config->layers * cached) * 4;
    // One layer as floats, before and after; one matrix of statistics and its factor; the calibration's activations.
    job = 2 * layer + 2 * 4 * largest_k * largest_k +
          2 * 4 * static_cast<double>(options.windows * options.length * config->hidden);
  }
  const double need = std::max(run, job);
  add(checks, "memory", physical > 0 && need > 0.9 * physical ? "warning" : "ok",
      fmt::format("running it takes about {}, quantizing with calibration about {}; this machine has {}",
                  megabytes(run), megabytes(job), megabytes(physical)));
  std::error_code error;
  std::filesystem::path place = options.output_directory;
  if (place.empty()) place = std::filesystem::absolute(checkpoint.origin(), error).parent_path();
  const auto space = std::filesystem::space(place, error);
  const double four = parameters * 4.5 / 8, sixteen = parameters * 2;
  if (error) {
    add(checks, "disk", "skipped", fmt::format("the room at '{}' cannot be had: {}", place.string(), error.message()));
    return;
  }
  const auto free = static_cast<double>(space.available);
  add(checks, "disk",
      free < four      ? "fail"
      : free < sixteen ? "warning"
                       : "ok",
      fmt::format("{} free at '{}'; a 4-bit result takes about {}, a dense 16-bit one {}", megabytes(free),
                  place.string(), megabytes(four), megabytes(sixteen)));
}

}  // namespace

Result<std::vector<Check>> examine(const Checkpoint& checkpoint, const DoctorOptions& options,
                                   const ProgressFn& progress) {
  Checks checks;
  std::unique_ptr<model::Config> config;
  const auto arch = model::find_architecture(checkpoint.config(), checkpoint.origin());
  if (!arch.ok()) {
    add(checks, "architecture", "fail", arch.status().message());
  } else if (auto read = (*arch)->read_config(checkpoint.config(), checkpoint.origin()); !read.ok()) {
    add(checks, "architecture", "fail", read.status().message());
  } else {
    config = std::make_unique<model::Config>(std::move(*read));
    add(checks, "architecture", "ok",
        fmt::format("{}, {} layers, hidden size {}", config->architecture, config->layers, config->hidden));
  }
  for (const std::string& warning : checkpoint.warnings()) add(checks, "architecture", "warning", warning);

  const text::Assets assets = text::assets_of(checkpoint);
  const auto tokenizer = text::load_tokenizer(assets);
  if (tokenizer.ok()) {
    check_tokenizer(**tokenizer, config == nullptr ? 0 : config->vocab, checks);
    check_marks(**tokenizer, config.get(), checks);
    check_template(assets, **tokenizer, checks);
  } else {
    const bool none = tokenizer.status().code() == Code::not_found;
    add(checks, "tokenizer", none ? "warning" : "fail", tokenizer.status().message());
    for (const char* name : {"bos", "eos", "template"}) add(checks, name, "skipped", "there is no tokenizer");
  }
  NBL_TRY(check_weights(checkpoint, progress, checks));
  check_calibration(tokenizer.ok() ? tokenizer->get() : nullptr, options, checks);
  check_memory(checkpoint, config.get(), options, checks);
  return checks;
}

}  // namespace nbl::pipeline
