#include "pipeline/compare_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "base/file.h"
#include "dialects/common.h"

namespace nbl::pipeline {
namespace {

double difference(float a, float b) noexcept {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double d = std::abs(static_cast<double>(a) - static_cast<double>(b));
  return std::isfinite(d) ? d : INFINITY;
}

bool same_bytes(const Storage& a, const Storage& b) {
  return a.bytes().size() == b.bytes().size() &&
         (a.bytes().empty() || std::memcmp(a.data(), b.data(), a.bytes().size()) == 0);
}

// Codes can be compared where both sides count alike.
bool comparable_codes(const QTensor& a, const QTensor& b) {
  if (a.segments.size() != b.segments.size() || !same_bytes(a.column_order, b.column_order)) return false;
  for (std::size_t i = 0; i < a.segments.size(); ++i) {
    const Segment &x = a.segments[i], &y = b.segments[i];
    // A zero point in the middle is one that a symmetric weight does not store.
    const auto whole = [](const Segment& s) {
      return s.zero_kind == ZeroKind::symmetric || s.zero_kind == ZeroKind::code;
    };
    if (x.encoding != y.encoding || x.encoding == Encoding::dense || x.bits != y.bits || x.k_count != y.k_count ||
        (x.zero_kind != y.zero_kind && !(whole(x) && whole(y))) || x.table != y.table) {
      return false;
    }
  }
  return true;
}

bool equal_codes(const QTensor& a, const QTensor& b, Team& team) {
  std::atomic<bool> equal = true;
  team.parallel_for(a.n, 16, [&](int64_t begin, int64_t end) {
    std::vector<uint8_t> x(static_cast<std::size_t>(a.k)), y(x.size());
    for (int64_t r = begin; r < end && equal; ++r) {
      a.unpack_row_codes(r, x.data());
      b.unpack_row_codes(r, y.data());
      if (x != y) equal = false;
    }
  });
  return equal;
}

class Comparison {
 public:
  Comparison(const Checkpoint& before, const Checkpoint& after, Team& team, const ProgressFn& progress)
      : before_(before), after_(after), team_(team), progress_(progress) {}

  Result<TensorComparison> run() {
    std::set<std::string> known;
    const std::vector<TensorInfo> infos = before_.tensors();
    int64_t done = 0;
    for (const TensorInfo& info : infos) {
      NBL_TRY(report_progress(progress_, {"verify", info.name, done++, static_cast<int64_t>(infos.size())}));
      known.insert(info.name);
      if (!after_.has(info.name)) {
        if (dialects::is_buffer(info.name)) continue;
        found(info.name, "missing");
        continue;
      }
      NBL_TRY(is_matrix(info) ? matrix(info.name) : array(info.name));
      MappedFile::release_pages();  // of both files: they are read once
    }
    for (const TensorInfo& info : after_.tensors()) {
      if (!known.contains(info.name)) found(info.name, "only in " + after_.origin());
    }
    return std::move(result_);
  }

 private:
  void found(const std::string& name, const std::string& what) {
    result_.differences.push_back(fmt::format("tensor {}: {}", name, what));
  }

  Status matrix(const std::string& name) {
    NBL_ASSIGN(const QTensor a, before_.matrix(name));
    MappedFile::release_pages();  // what was translated is not needed again
    NBL_ASSIGN(const QTensor b, after_.matrix(name));
    MappedFile::release_pages();
    if (a.n != b.n || a.k != b.k) {
      found(name, fmt::format("shape [{}, {}] where [{}, {}] was expected", b.n, b.k, a.n, a.k));
      return {};
    }
    ++result_.tensors;
    const double d = max_difference(a, b, team_);
    result_.max_abs_difference = std::max(result_.max_abs_difference, d);
    if (d != 0) found(name, fmt::format("values differ by up to {:.9g}", d));
    if (d == 0 && !same_bytes(a.input_scale, b.input_scale)) found(name, "the input scale differs");
    if (a.input_rounding != b.input_rounding) found(name, "inputs are rounded differently");
    if (!comparable_codes(a, b)) return {};
    ++result_.codes;
    if (d == 0 && !equal_codes(a, b, team_)) found(name, "equal values with other codes");
    return {};
  }

  Status array(const std::string& name) {
    NBL_ASSIGN(const Array a, before_.array(name));
    NBL_ASSIGN(const Array b, after_.array(name));
    if (a.shape != b.shape) {
      found(name,
            fmt::format("shape {} where {} was expected", shape_string(b.shape), shape_string(a.shape)));
      return {};
    }
    ++result_.tensors;
    NBL_ASSIGN(const std::vector<float> x, a.to_f32());
    NBL_ASSIGN(const std::vector<float> y, b.to_f32());
    double most = 0;
    for (std::size_t i = 0; i < x.size(); ++i) most = std::max(most, difference(x[i], y[i]));
    result_.max_abs_difference = std::max(result_.max_abs_difference, most);
    if (most != 0) found(name, fmt::format("values differ by up to {:.9g}", most));
    return {};
  }

  const Checkpoint &before_, &after_;
  Team& team_;
  const ProgressFn& progress_;
  TensorComparison result_;
};

}  // namespace

bool is_matrix(const TensorInfo& info) { return info.shape.size() == 2 && info.name.ends_with(".weight"); }

double max_difference(const QTensor& a, const QTensor& b, Team& team) {
  double most = 0;
  std::mutex mutex;
  const auto sa = a.input_scale.as<float>(), sb = b.input_scale.as<float>();
  const bool scaled = !same_bytes(a.input_scale, b.input_scale);
  team.parallel_for(a.n, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> x(static_cast<std::size_t>(a.k)), y(x.size());
    double mine = 0;
    for (int64_t r = begin; r < end; ++r) {
      a.dequantize_row(r, x.data());
      b.dequantize_row(r, y.data());
      for (std::size_t c = 0; c < x.size(); ++c) {
        // Where the scales are the same, the weights alone say it.
        const float p = scaled && !sa.empty() ? x[c] * sa[c] : x[c], q = scaled && !sb.empty() ? y[c] * sb[c] : y[c];
        mine = std::max(mine, difference(p, q));
      }
    }
    const std::lock_guard lock(mutex);
    most = std::max(most, mine);
  });
  return most;
}

Result<TensorComparison> compare_tensors(const Checkpoint& before, const Checkpoint& after, Team& team,
                                         const ProgressFn& progress) {
  return Comparison(before, after, team, progress).run();
}

}  // namespace nbl::pipeline
