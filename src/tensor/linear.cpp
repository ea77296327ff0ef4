#include "tensor/linear.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "base/checked.h"
#include "base/half.h"

#include "kernels/matmul_bf16/matmul_bf16.h"
#include "kernels/prepare_input/prepare_input.h"
#include "kernels/qmatmul_exact/qmatmul_exact.h"
#include "kernels/qmatmul_int8/qmatmul_int8.h"
#include "tensor/coded_numbers.h"
#include "tensor/kernel_tuner.h"
#include "tensor/linear_view.h"

namespace nbl {
namespace {

constexpr int64_t kLargestStep = 128;  ///< columns that one activation scale covers at most
constexpr int64_t kNearBytes = 128 * 1024;  ///< of weights that stay in the second-level cache between two planes
constexpr int64_t kTwinRows = 4;            ///< so many rows and their second planes are multiplied together
constexpr int64_t kPrepareBlock = 1024;
constexpr int64_t kBf16Rows = 8;  ///< from this many activation rows on, dense segments are multiplied in bfloat16

// Where the parts of a prepared input lie, in bytes from its beginning. Rows of float32 are a line longer than they
// need when that keeps them from falling on the same cache sets.
struct PreparedLayout {
  int64_t columns = 0;  // padded
  int64_t steps = 0;
  int64_t ldx = 0;  // floats a row
  int64_t rows = 0;  // of int8: the second planes of few rows are rows of their own, after the first planes
  int64_t low_q = 0, low_scales = 0;  // bytes and floats from a first plane to its second
  int64_t d = 0, sums = 0, dsums = 0, f32 = 0, bf16 = 0, bytes = 0;
  bool has_f32 = false, has_bf16 = false;
};

PreparedLayout prepared_layout(const InputForm& form, int64_t m) noexcept {
  PreparedLayout l;
  l.columns = round_up(std::max<int64_t>(form.k, 1), kTileCols);
  l.ldx = l.columns % 512 == 0 ? l.columns + 16 : l.columns;
  if (form.quantized) {
    l.steps = ceil_div(l.columns, form.group);
    l.rows = form.planes == 2 && m <= kTwinRows ? 2 * m : m;
    const int64_t line = round_up(l.steps * l.rows * 4, 64);
    l.d = l.columns * l.rows;
    l.sums = l.d + line;
    l.dsums = l.sums + line;
    const int64_t plane = l.dsums + line;
    l.f32 = form.planes * m == l.rows ? plane : 2 * plane;
    if (form.planes == 2) {
      l.low_q = l.rows > m ? m * kTileCols : plane;
      l.low_scales = l.rows > m ? m : plane / 4;
    }
  }
  l.has_f32 = !form.quantized || form.keep_f32;
  l.has_bf16 = form.bf16 && m >= kBf16Rows;
  l.bf16 = l.f32 + (l.has_f32 ? round_up(l.ldx * m * 4, 64) : 0);
  l.bytes = l.bf16 + (l.has_bf16 ? l.columns * m * 2 : 0);
  return l;
}

template <class T>
T* at(std::byte* base, int64_t offset) noexcept {
  return reinterpret_cast<T*>(base + offset);
}
template <class T>
const T* at(const std::byte* base, int64_t offset) noexcept {
  return reinterpret_cast<const T*>(base + offset);
}

/// Both planes of m activation rows that are the 2m rows of `a`: y = (y or bias) + first + second.
void multiply_twins(kernels::QmatmulInt8Fn run, kernels::QmatmulInt8Args a) noexcept {
  constexpr int64_t kRoom = 4096;
  alignas(64) float sums[kRoom];
  const int64_t m = a.m, tiles = kRoom / (2 * m * kTileRows), end = a.tile_end, ldy = a.ldy;
  float* const y = a.y;
  const float* const bias = a.accumulate ? nullptr : a.bias;
  const bool add = a.accumulate;
  a.m = 2 * m;
  a.ldy = tiles * kTileRows;
  a.bias = nullptr;
  a.accumulate = false;
  const uint8_t* const next = a.next_codes;
  for (; a.tile_begin < end; a.tile_begin = a.tile_end) {
    a.tile_end = std::min(end, a.tile_begin + tiles);
    a.next_codes = a.tile_end == end ? next : nullptr;
    const int64_t row = a.tile_begin * kTileRows, rows = std::min(a.n, a.tile_end * kTileRows) - row;
    a.y = reinterpret_cast<float*>(reinterpret_cast<uintptr_t>(sums) - static_cast<uintptr_t>(row) * sizeof(float));  // y[row] is sums[0]
    run(&a);
    for (int64_t i = 0; i < m; ++i) {
      const float *first = sums + i * a.ldy, *second = first + m * a.ldy;
      float* const out = y + i * ldy + row;
      const float* const from = add ? out : bias != nullptr ? bias + row : nullptr;
      for (int64_t r = 0; r < rows; ++r) out[r] = (from != nullptr ? from[r] + first[r] : first[r]) + second[r];
    }
  }
}

/// The same for many rows, whose second planes lie `low` bytes after the first: one after the other, on weights that are near.
void multiply_planes(kernels::QmatmulInt8Fn run, kernels::QmatmulInt8Args a, int64_t low) noexcept {
  const int64_t tiles = std::max<int64_t>(2, kNearBytes / (a.w.column_tiles * a.w.tile_code_bytes()) / 2 * 2);
  const int64_t end = a.tile_end;
  const auto second = [low](auto* p) { return at<std::remove_cvref_t<decltype(*p)>>(reinterpret_cast<const std::byte*>(p), low); };
  kernels::QmatmulInt8Args b = a;
  b.x = second(a.x);
  b.d = second(a.d);
  b.sums = second(a.sums);
  b.dsums = second(a.dsums);
  b.accumulate = true;
  const float* const bias = a.accumulate ? nullptr : a.bias;
  a.accumulate = a.accumulate || bias != nullptr;
  for (; a.tile_begin < end; a.tile_begin = a.tile_end) {
    a.tile_end = std::min(end, a.tile_begin + tiles);
    const int64_t row = a.tile_begin * kTileRows, rows = std::min(a.n, a.tile_end * kTileRows) - row;
    for (int64_t i = 0; i < a.m && bias != nullptr; ++i) std::copy_n(bias + row, rows, a.y + i * a.ldy + row);
    b.tile_begin = a.tile_begin;
    b.tile_end = a.tile_end;
    run(&a);
    run(&b);
  }
}

}  // namespace

struct Linear::Impl {
  QTensor tensor;
  std::vector<float> bias;
  ComputeOptions options;
  InputForm form;
  std::vector<kernels::SegmentView> views;  ///< one a segment
  kernels::QmatmulExactVariant exact{};
  std::vector<Int8Choices> int8;  ///< one a segment
  kernels::MatmulBf16Variant bf16{};  ///< run is null where there is none
  kernels::PrepareInputVariant prepare{};
  std::vector<int32_t> outlier_columns;  ///< in packed order
  std::vector<CodedNumbers> coded;  ///< scales and minimums that the views read in place of the tensor's
  int64_t weight_bytes = 0;

  /// Lets the segment's view read its scales and minimums as the file keeps them, where kernels can.
  Status use_codes(const Segment& segment);
  bool integer(std::size_t segment) const noexcept {
    return form.quantized && views[segment].kind != kernels::WeightKind::dense;
  }
  /// Rows are prepared in blocks of columns; so many of them.
  int64_t prepare_count(int64_t m) const noexcept {
    return m * ceil_div(prepared_layout(form, m).columns, kPrepareBlock);
  }
  int64_t row_tiles() const noexcept { return ceil_div(tensor.n, kTileRows); }
  /// Row tiles that workers take together. Kernels take two at a time.
  int64_t taken_tiles(const Worker& worker) const noexcept { return row_tiles() >= 8 * worker.count() ? 2 : 1; }
  /// Row tiles that are worth a worker's coming for them.
  int64_t dealt_tiles() const noexcept {
    return std::max<int64_t>(1, Linear::kDealtBytes * row_tiles() / std::max<int64_t>(weight_bytes, 1));
  }
  Range kept_tiles(const Worker& worker) const noexcept {
    return worker.kept_share(row_tiles(), taken_tiles(worker), dealt_tiles());
  }
  void multiply_tiles(Range tiles, const std::byte* prepared, int64_t m, float* y, int64_t ldy,
                      const FirstLines& next) const noexcept;
  /// Columns [columns.begin, columns.end) of a row that begins at x; ones of 1,024 where they are many.
  void prepare_piece(Range columns, const float* x, int64_t row, const PreparedLayout& l, int64_t m,
                     std::byte* prepared) const noexcept;
  void prepare_items(Range mine, const float* x, int64_t ldx, int64_t m, std::byte* prepared) const noexcept;
  void round_rows(Range rows, int64_t m, std::byte* prepared) const noexcept;
  bool in_bf16(const kernels::SegmentView& view) const noexcept {
    return bf16.run != nullptr && view.kind == kernels::WeightKind::dense && view.value_type != kernels::Number::f32;
  }
  void add_outliers(Range rows, const float* x, int64_t ldx, int64_t m, float* y, int64_t ldy) const noexcept;
};

Linear::Linear() noexcept = default;
Linear::~Linear() = default;
Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&&) noexcept = default;

Result<Linear> Linear::create(QTensor tensor, std::vector<float> bias, const ComputeOptions& options) {
  if (!bias.empty() && static_cast<int64_t>(bias.size()) != tensor.n)
    return Status(Code::mismatch,
                  fmt::format("the bias has {} elements, the weight has {} rows", bias.size(), tensor.n));
  auto impl = std::make_unique<Impl>();
  impl->bias = std::move(bias);
  impl->options = options;
  impl->exact = kernels::select_qmatmul_exact(options.isa);
  impl->prepare = kernels::select_prepare_input(options.isa);
  if (const auto* bf16 = kernels::select_matmul_bf16(options.isa); bf16 != nullptr && options.compute == Compute::fast)
    impl->bf16 = *bf16;
  impl->tensor = std::move(tensor);
  // The kernels multiply plain dense values; rounded inputs keep their values in float32.
  for (Segment& s : impl->tensor.segments) {
    if (!s.scaled) continue;
    NBL_ASSIGN(s, without_scales(impl->tensor.n, s));
  }
  const QTensor& t = impl->tensor;
  const bool rounded = t.input_rounding.has_value();
  if (rounded) impl->bf16.run = nullptr;

  InputForm& form = impl->form;
  form.rounding = t.input_rounding;
  form.k = t.k;
  form.order = t.column_order.empty() ? nullptr : t.column_order.data();
  form.scale = t.input_scale.empty() ? nullptr : t.input_scale.data();
  int64_t step = kLargestStep;
  bool dense = false;
  for (const Segment& s : t.segments) {
    impl->views.push_back(segment_view(s));
    impl->weight_bytes += s.code_bytes(t.n) + s.scale_bytes(t.n) + s.zero_bytes(t.n);
    NBL_TRY(impl->use_codes(s));
    if (s.encoding == Encoding::dense) {
      dense = true;
      form.bf16 = form.bf16 || impl->in_bf16(impl->views.back());
      continue;
    }
    form.quantized = options.compute == Compute::fast && !rounded;
    if (s.k_begin > 0) step = std::gcd(step, s.k_begin);
    if (impl->views.back().groups > 1) step = std::gcd(step, s.group_size);
  }
  form.group = form.quantized ? static_cast<int32_t>(step) : 0;
  form.planes = form.quantized ? (options.fine ? 2 : 1) : 0;
  impl->int8.assign(impl->views.size(), default_int8_choices(options.isa));
  for (std::size_t s = 0; s < impl->views.size() && options.tuner != nullptr; ++s)
    if (impl->integer(s)) impl->int8[s] = options.tuner->choose(impl->views[s], t.n, step, options.isa);
  form.keep_f32 = form.quantized && (dense || t.outliers.has_value());

  if (t.outliers.has_value()) {
    const Outliers& o = *t.outliers;
    impl->weight_bytes += (t.n + 1) * 4 + o.count * 6;
    const auto columns = o.columns.as<int32_t>();
    impl->outlier_columns.assign(columns.begin(), columns.begin() + o.count);
    if (form.order != nullptr) {
      const auto order = t.column_order.as<int32_t>();
      std::vector<int32_t> packed(static_cast<std::size_t>(t.k));
      for (int64_t p = 0; p < t.k; ++p)
        packed[static_cast<std::size_t>(order[static_cast<std::size_t>(p)])] = static_cast<int32_t>(p);
      for (int32_t& c : impl->outlier_columns) c = packed[static_cast<std::size_t>(c)];
    }
  }
  Linear linear;
  linear.impl_ = std::move(impl);
  return linear;
}

Status Linear::Impl::use_codes(const Segment& s) {
  if (s.encoding == Encoding::dense) return {};
  kernels::SegmentView& view = views.back();
  if (s.scale_codes && has_kernel_form(*s.scale_codes, view.groups)) {
    NBL_ASSIGN(CodedNumbers numbers, kernel_form(*s.scale_codes, tensor.n, view.groups));
    weight_bytes += numbers.size() - s.scale_bytes(tensor.n);
    view.scale_codes = numbers.codes;
    view.scales = reinterpret_cast<const uint8_t*>(numbers.bytes.data());
    coded.push_back(std::move(numbers));
  }
  if (s.zero_codes && has_kernel_form(*s.zero_codes, view.groups)) {
    NBL_ASSIGN(CodedNumbers numbers, kernel_form(*s.zero_codes, tensor.n, view.groups));
    weight_bytes += numbers.size() - s.zero_bytes(tensor.n);
    view.zero_codes = numbers.codes;
    view.zeros = reinterpret_cast<const uint8_t*>(numbers.bytes.data());
    coded.push_back(std::move(numbers));
  }
  return {};
}

int64_t Linear::n() const noexcept { return impl_->tensor.n; }
int64_t Linear::k() const noexcept { return impl_->tensor.k; }
const QTensor& Linear::tensor() const noexcept { return impl_->tensor; }
const InputForm& Linear::input_form() const noexcept { return impl_->form; }
int64_t Linear::weight_bytes() const noexcept { return impl_->weight_bytes; }

std::string Linear::kernel_name() const {
  return impl_->form.quantized ? impl_->int8.front().front().variant.name : impl_->form.bf16 ? impl_->bf16.name : impl_->exact.name;
}

std::size_t Linear::prepared_bytes(int64_t m) const noexcept {
  return static_cast<std::size_t>(prepared_layout(impl_->form, m).bytes);
}

void Linear::Impl::prepare_items(Range mine, const float* x, int64_t ldx, int64_t m,
                                 std::byte* prepared) const noexcept {
  const PreparedLayout l = prepared_layout(form, m);
  const int64_t blocks = ceil_div(l.columns, kPrepareBlock);
  for (int64_t item = mine.begin; item < mine.end; ++item) {
    const int64_t i = item / blocks, begin = item % blocks * kPrepareBlock;
    prepare_piece({begin, std::min(l.columns, begin + kPrepareBlock)}, x + i * ldx, i, l, m, prepared);
  }
}

void Linear::Impl::prepare_piece(Range columns, const float* x, int64_t i, const PreparedLayout& l, int64_t m,
                                 std::byte* prepared) const noexcept {
  kernels::PrepareInputArgs a;
  a.x = x;
  a.order = static_cast<const int32_t*>(form.order);
  a.scale = static_cast<const float*>(form.scale);
  a.k = form.k;
  a.begin = columns.begin;
  a.end = columns.end;
  if (l.has_f32) a.f32 = at<float>(prepared, l.f32) + i * l.ldx;
  if (l.has_bf16) {
    a.bf16 = at<uint16_t>(prepared, l.bf16) + i * 32;
    a.bf16_stride = m * 32;
  }
  if (form.quantized) {
    a.q = at<int8_t>(prepared, 0) + i * kTileCols;
    a.q_stride = l.rows * kTileCols;
    a.step = form.group;
    a.d = at<float>(prepared, l.d) + i;
    a.sums = at<float>(prepared, l.sums) + i;
    a.dsums = at<float>(prepared, l.dsums) + i;
    a.d_stride = l.rows;
    a.low_plane = l.low_q;
    a.low_scales = l.low_scales;
  }
  prepare.run(&a);
}

bool Linear::prepares_in_pieces() const noexcept {
  return impl_->form.order == nullptr && !impl_->form.rounding.has_value();
}

void Linear::prepare_rows(Range rows, const float* x, int64_t ldx, int64_t m, std::byte* prepared) const noexcept {
  const int64_t blocks = impl_->prepare_count(m) / std::max<int64_t>(m, 1);
  impl_->prepare_items({rows.begin * blocks, rows.end * blocks}, x, ldx, m, prepared);
}

void Linear::prepare_columns(Range columns, const float* x, int64_t ldx, int64_t m,
                             std::byte* prepared) const noexcept {
  const PreparedLayout l = prepared_layout(impl_->form, m);
  const int64_t end = columns.end == impl_->form.k ? l.columns : columns.end;
  for (int64_t i = 0; i < m; ++i)
    impl_->prepare_piece({columns.begin, end}, x + i * ldx - columns.begin, i, l, m, prepared);
}

void Linear::prepare(Worker& worker, const float* x, int64_t ldx, int64_t m, std::byte* prepared) const noexcept {
  impl_->prepare_items(worker.share(impl_->prepare_count(m)), x, ldx, m, prepared);
  worker.barrier();
  if (!impl_->form.rounding) return;
  impl_->round_rows(worker.share(m), m, prepared);
  worker.barrier();
}

void Linear::prepare_alone(const float* x, int64_t ldx, int64_t m, std::byte* prepared) const noexcept {
  impl_->prepare_items({0, impl_->prepare_count(m)}, x, ldx, m, prepared);
  if (impl_->form.rounding) impl_->round_rows({0, m}, m, prepared);
}

void Linear::Impl::round_rows(Range rows, int64_t m, std::byte* prepared) const noexcept {
  const PreparedLayout l = prepared_layout(form, m);
  for (int64_t i = rows.begin; i < rows.end; ++i) form.rounding->apply(at<float>(prepared, l.f32) + i * l.ldx, form.k);
}

void Linear::multiply(Worker& worker, const std::byte* prepared, int64_t m, float* y, int64_t ldy,
                      const FirstLines& next) const noexcept {
  if (m > kDealtRows) {
    impl_->multiply_tiles(worker.share(impl_->row_tiles(), impl_->taken_tiles(worker)), prepared, m, y, ldy, {});
    return;
  }
  worker.deal(impl_->row_tiles(), impl_->taken_tiles(worker), impl_->dealt_tiles(), [&](Range tiles, bool last) {
    impl_->multiply_tiles(tiles, prepared, m, y, ldy, last ? next : FirstLines{});
  });
}

void Linear::multiply_rows(Range rows, const std::byte* prepared, int64_t m, float* y, int64_t ldy,
                           const FirstLines& next) const noexcept {
  impl_->multiply_tiles({rows.begin / kTileRows, ceil_div(rows.end, kTileRows)}, prepared, m, y - rows.begin, ldy, next);
}

FirstLines Linear::lines_of(int64_t row) const noexcept {
  const kernels::SegmentView& w = impl_->views.front();
  const int64_t tile = row / kTileRows, group = tile * w.groups;
  return {w.codes + tile * w.column_tiles * w.tile_code_bytes(),
          w.scales != nullptr ? w.scales + group * w.scale_group_bytes() : nullptr,
          w.zeros != nullptr ? w.zeros + group * w.zero_group_bytes() : nullptr};
}

FirstLines Linear::lines_of(const Worker& worker) const noexcept {
  return lines_of(impl_->kept_tiles(worker).begin * kTileRows);
}

Ahead Linear::ahead(const Worker& worker) const noexcept {
  const Range tiles = impl_->kept_tiles(worker);
  if (tiles.begin >= tiles.end) return {};
  const kernels::SegmentView& w = impl_->views.front();
  const int64_t tile_bytes = w.column_tiles * w.tile_code_bytes();
  return {w.codes + tiles.begin * tile_bytes, (tiles.end - tiles.begin) * tile_bytes};
}

void Linear::Impl::multiply_tiles(Range mine, const std::byte* prepared, int64_t m, float* y, int64_t ldy,
                                  const FirstLines& next) const noexcept {
  const Impl& impl = *this;
  const int64_t n = tensor.n;
  const PreparedLayout l = prepared_layout(form, m);
  if (mine.begin >= mine.end) return;
  for (std::size_t s = 0; s < impl.views.size(); ++s) {
    const int64_t k_begin = impl.tensor.segments[s].k_begin;
    const float* bias = impl.bias.empty() ? nullptr : impl.bias.data();
    const auto fill = [&](auto& a) {
      a.w = impl.views[s];
      a.tile_begin = mine.begin;
      a.tile_end = mine.end;
      a.n = n;
      a.m = m;
      a.y = y;
      a.ldy = ldy;
      a.bias = bias;
      a.accumulate = s > 0;
    };
    if (impl.integer(s)) {
      kernels::QmatmulInt8Args a;
      fill(a);
      a.step = impl.form.group;
      const int64_t first = k_begin / a.step * l.rows;
      a.x = at<int8_t>(prepared, k_begin * l.rows);
      a.d = at<float>(prepared, l.d) + first;
      a.sums = at<float>(prepared, l.sums) + first;
      a.dsums = at<float>(prepared, l.dsums) + first;
      const Int8Choice& choice = impl.int8[s][static_cast<std::size_t>(row_class(l.rows))];
      a.block_rows = choice.block_rows;
      if (s + 1 == impl.views.size()) {
        a.next_codes = next.codes;
        a.next_scales = next.scales;
        a.next_zeros = next.zeros;
      }
      if (form.planes == 1)
        choice.variant.run(&a);
      else if (l.rows > m)
        multiply_twins(choice.variant.run, a);
      else
        multiply_planes(choice.variant.run, a, l.low_q);
    } else if (l.has_bf16 && impl.in_bf16(impl.views[s])) {
      kernels::MatmulBf16Args a;
      fill(a);
      a.x = at<uint16_t>(prepared, l.bf16) + k_begin * m;
      impl.bf16.run(&a);
    } else {
      kernels::QmatmulExactArgs a;
      fill(a);
      a.x = at<float>(prepared, l.f32) + k_begin;
      a.ldx = l.ldx;
      impl.exact.run(&a);
    }
  }
  if (impl.tensor.outliers.has_value())
    impl.add_outliers({mine.begin * kTileRows, std::min(n, mine.end * kTileRows)}, at<float>(prepared, l.f32), l.ldx, m,
                      y, ldy);
}

void Linear::Impl::add_outliers(Range rows, const float* x, int64_t ldx, int64_t m, float* y,
                                int64_t ldy) const noexcept {
  const int32_t* offsets = tensor.outliers->row_offsets.as<int32_t>().data();
  const uint16_t* values = tensor.outliers->values.as<uint16_t>().data();
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t i = 0; i < m; ++i) {
      float sum = 0;
      for (int32_t e = offsets[row]; e < offsets[row + 1]; ++e)
        sum = std::fma(f16_to_f32(values[e]), x[i * ldx + outlier_columns[static_cast<std::size_t>(e)]], sum);
      y[i * ldy + row] += sum;
    }
}

}  // namespace nbl
