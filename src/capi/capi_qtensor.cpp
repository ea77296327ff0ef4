// Quantized matrices on their own: methods and kernels without a model.
#include <fmt/format.h>

#include <cmath>

#include "base/buffer.h"
#include "base/checked.h"
#include "capi/handles.h"

namespace nbl::capi {
namespace {

Status check_matrix(int64_t n, int64_t k, int64_t stride) {
  constexpr int64_t kMost = int64_t{1} << 31;
  int64_t elements = 0;
  if (n < 1 || k < 1 || n > kMost || k > kMost || stride < k || !checked_mul(n, stride, &elements)) {
    return {Code::invalid_argument, fmt::format("a matrix of {} rows, {} columns and stride {} is none", n, k, stride)};
  }
  return {};
}

Status quantize(const RuntimePtr& runtime, const float* weight, int64_t n, int64_t k, int64_t stride,
                const char* recipe_text, const nbl_qtensor_options& o, nbl_qtensor** out) {
  NBL_ASSIGN(const quant::Recipe recipe, quant::parse_recipe(recipe_text));
  const uint32_t needs = recipe.method->needs(recipe.options);
  quant::InputStats stats;
  stats.k = k;
  stats.tokens = o.tokens;
  const auto columns = static_cast<std::size_t>(k);
  if ((needs & quant::kNeedHessian) != 0) {
    if (o.hessian == nullptr) {
      return {Code::invalid_argument, fmt::format("{} needs nbl_qtensor_options.hessian", recipe.method->id())};
    }
    stats.hessian.assign(o.hessian, o.hessian + columns * columns);
  }
  if ((needs & quant::kNeedAbsMean) != 0) {
    if (o.abs_mean == nullptr) {
      return {Code::invalid_argument, fmt::format("{} needs nbl_qtensor_options.abs_mean", recipe.method->id())};
    }
    stats.abs_mean.assign(o.abs_mean, o.abs_mean + columns);
  }
  if (needs != quant::kNeedNone && o.tokens < 1) {
    return {
        Code::invalid_argument,
        fmt::format("{} needs nbl_qtensor_options.tokens: how many inputs the statistics sum up", recipe.method->id())};
  }
  std::vector<float> compact;
  const float* rows = weight;
  if (stride != k) {
    compact.resize(static_cast<std::size_t>(n) * columns);
    for (int64_t r = 0; r < n; ++r) std::copy_n(weight + r * stride, k, compact.data() + r * k);
    rows = compact.data();
  }
  quant::LinearTask task;
  task.name = "matrix";
  task.n = n;
  task.k = k;
  task.weight = {rows, static_cast<std::size_t>(n) * columns};
  task.stats = needs == quant::kNeedNone ? nullptr : &stats;
  quant::MethodContext context;
  context.team = &runtime->team;
  context.seed = o.seed;
  context.isa = runtime->isa;
  NBL_ASSIGN(quant::LinearResult result, recipe.method->quantize(task, recipe.options, context));
  auto q = std::make_unique<nbl_qtensor>();
  q->runtime = runtime;
  q->tensor = std::move(result.tensor);
  q->error = result.error;
  q->has_error = true;
  q->notes = std::move(result.notes);
  *out = q.release();
  return {};
}

/// The Linear of this compute mode, made on first use.
Result<const Linear*> linear_of(nbl_qtensor* q, Compute compute) {
  const auto index = static_cast<std::size_t>(compute);
  const std::lock_guard lock(q->mutex);
  if (!q->made[index]) {
    NBL_ASSIGN(q->linears[index], Linear::create(q->tensor, {}, q->runtime->compute(compute)));
    q->made[index] = true;
  }
  return &q->linears[index];
}

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_qtensor_quantize(nbl_runtime* runtime, const float* weight, int64_t n, int64_t k, int64_t stride,
                                const char* recipe, const nbl_qtensor_options* options, nbl_qtensor** out_qtensor) {
  if (out_qtensor != nullptr) *out_qtensor = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(weight, "weight"));
    NBL_TRY(require(recipe, "recipe"));
    NBL_TRY(require(out_qtensor, "out_qtensor"));
    NBL_TRY(check_matrix(n, k, stride));
    nbl_qtensor_options o = NBL_QTENSOR_OPTIONS_INIT;
    NBL_TRY(read_options(options, sizeof(nbl_qtensor_options), "nbl_qtensor_options", &o));
    return quantize(runtime->state, weight, n, k, stride, recipe, o, out_qtensor);
  });
}

nbl_status nbl_qtensor_from_checkpoint(nbl_checkpoint* checkpoint, const char* name, nbl_qtensor** out_qtensor) {
  if (out_qtensor != nullptr) *out_qtensor = nullptr;
  return guard(checkpoint, [&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(name, "name"));
    NBL_TRY(require(out_qtensor, "out_qtensor"));
    auto q = std::make_unique<nbl_qtensor>();
    q->runtime = checkpoint->runtime;
    NBL_ASSIGN(q->tensor, checkpoint->checkpoint->matrix(name));
    *out_qtensor = q.release();
    return {};
  });
}

void nbl_qtensor_destroy(nbl_qtensor* qtensor) { delete qtensor; }

int64_t nbl_qtensor_rows(const nbl_qtensor* qtensor) { return qtensor == nullptr ? 0 : qtensor->tensor.n; }
int64_t nbl_qtensor_columns(const nbl_qtensor* qtensor) { return qtensor == nullptr ? 0 : qtensor->tensor.k; }

nbl_status nbl_qtensor_info(nbl_qtensor* qtensor, nbl_buffer** out_json) {
  if (out_json != nullptr) *out_json = nullptr;
  return guard(qtensor, [&]() -> Status {
    NBL_TRY(require(qtensor, "qtensor"));
    NBL_TRY(require(out_json, "out_json"));
    const nbl::QTensor& t = qtensor->tensor;
    Json j = Json::object();
    Json shape = Json::array();
    shape.push_back(t.n);
    shape.push_back(t.k);
    j.set("shape", std::move(shape));
    j.set("encoding", t.description());
    j.set("bits_per_weight", t.bits_per_weight());
    j.set("stored_bytes", t.stored_bytes());
    Json segments = Json::array();
    for (const nbl::Segment& s : t.segments) {
      segments.push_back(Json::object({{"k_begin", s.k_begin},
                                       {"k_count", s.k_count},
                                       {"encoding", s.encoding == nbl::Encoding::affine     ? "affine"
                                                    : s.encoding == nbl::Encoding::codebook ? "codebook"
                                                    : s.encoding == nbl::Encoding::trellis  ? "trellis"
                                                                                            : "dense"},
                                       {"bits", s.bits},
                                       {"group_size", s.group_size}}));
    }
    j.set("segments", std::move(segments));
    j.set("error", qtensor->has_error ? Json(qtensor->error) : Json());
    Json notes = Json::array();
    for (const std::string& note : qtensor->notes) notes.push_back(note);
    j.set("notes", std::move(notes));
    *out_json = make_json_buffer(j);
    return {};
  });
}

nbl_status nbl_qtensor_dequantize(nbl_qtensor* qtensor, int64_t row, int64_t rows, float* out, int64_t stride) {
  return guard(qtensor, [&]() -> Status {
    NBL_TRY(require(qtensor, "qtensor"));
    const nbl::QTensor& t = qtensor->tensor;
    if (row < 0 || rows < 0 || row > t.n || rows > t.n - row) {
      return {Code::invalid_argument, fmt::format("{} rows from row {} of a matrix of {}", rows, row, t.n)};
    }
    if (rows == 0) return {};
    NBL_TRY(require(out, "out"));
    if (stride < t.k)
      return {Code::invalid_argument, fmt::format("stride is {}; at least {} was expected", stride, t.k)};
    for (int64_t r = 0; r < rows; ++r) t.dequantize_row(row + r, out + r * stride);
    return {};
  });
}

nbl_status nbl_qtensor_matmul(nbl_qtensor* qtensor, int32_t compute, const float* x, int64_t x_stride, int64_t m,
                              float* y, int64_t y_stride) {
  return guard(qtensor, [&]() -> Status {
    NBL_TRY(require(qtensor, "qtensor"));
    NBL_TRY(check_compute(compute));
    if (m < 0) return {Code::invalid_argument, "m is negative"};
    if (m == 0) return {};
    NBL_TRY(require(x, "x"));
    NBL_TRY(require(y, "y"));
    const nbl::QTensor& t = qtensor->tensor;
    if (x_stride < t.k || y_stride < t.n) {
      return {Code::invalid_argument, fmt::format("strides of x and y are {} and {}; at least {} and {} were expected",
                                                  x_stride, y_stride, t.k, t.n)};
    }
    NBL_ASSIGN(const nbl::Linear* linear, linear_of(qtensor, qtensor->runtime->compute(compute).compute));
    NBL_ASSIGN(nbl::Buffer prepared, nbl::Buffer::create(linear->prepared_bytes(m)));
    qtensor->runtime->team.run([&](nbl::Worker& worker) {
      linear->prepare(worker, x, x_stride, m, prepared.data());
      linear->multiply(worker, prepared.data(), m, y, y_stride);
    });
    return {};
  });
}

}  // extern "C"
