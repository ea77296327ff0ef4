#include "dialects/recode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"

namespace nbl::dialects {
namespace {

float load(DType type, const std::byte* p) noexcept {
  float value;
  convert_to_f32(type, p, 1, &value);
  return value;
}

bool exact(DType type, float value) noexcept {
  std::byte stored[8];
  float back = 0;
  convert_from_f32(&value, 1, type, stored);
  convert_to_f32(type, stored, 1, &back);
  return back == value;
}

// The definition of an affine weight (qtensor.h).
float value_of(ZeroKind kind, int bits, float scale, float zero, int code) noexcept {
  const auto q = static_cast<float>(code);
  switch (kind) {
    case ZeroKind::symmetric:
      return scale * (q - static_cast<float>(1 << (bits - 1)));
    case ZeroKind::code:
    case ZeroKind::real:
      return scale * (q - zero);
    case ZeroKind::minimum:
      return scale * q + zero;
  }
  return 0;
}

class Recoder {
 public:
  Recoder(const QTensor& tensor, const AffineTarget& target, std::string_view what)
      : tensor_(tensor), target_(target), what_(what), segment_(tensor.segments.front()) {}

  Result<AffineView> run() {
    view_.tensor = &tensor_;
    NBL_TRY(check_form());
    read_parts();
    NBL_TRY(choose_bits());
    NBL_TRY(choose_group());
    NBL_TRY(choose_zero());
    NBL_TRY(choose_types());
    return std::move(view_);
  }

 private:
  Status no(std::string why) const {
    return Status(Code::unsupported, fmt::format("{} cannot hold {}", what_, std::move(why)));
  }

  Status check_form() const {
    if (tensor_.outliers) return no("outliers; the native format can");
    if (tensor_.input_rounding) return no("rounded inputs; the native format can");
    if (!tensor_.input_scale.empty() && !target_.input_scale) return no("an input scale; the native format can");
    if (!tensor_.column_order.empty() && !target_.column_order) return no("reordered columns; gptq can");
    if (tensor_.segments.size() != 1) return no("columns of different encodings in one weight; the native format can");
    if (segment_.has_table()) {
      return no(fmt::format("{} ({}); the native format and huggingface can",
                            segment_.encoding == Encoding::trellis ? "a trellis" : "a codebook", tensor_.description()));
    }
    if (segment_.encoding != Encoding::affine) return no("a dense weight as codes");
    return {};
  }

  void read_parts() {
    view_.group_size = segment_.group_size >= tensor_.k ? 0 : segment_.group_size;
    view_.groups = segment_.groups();
    view_.zero_kind = segment_.zero_kind;
    view_.scales.resize(static_cast<std::size_t>(tensor_.n * view_.groups));
    if (segment_.zero_kind != ZeroKind::symmetric) view_.zeros.resize(view_.scales.size());
    for (int64_t row = 0; row < tensor_.n; ++row) {
      for (int64_t g = 0; g < view_.groups; ++g) {
        const auto i = static_cast<std::size_t>(row * view_.groups + g);
        view_.scales[i] = scale_at(segment_, row, g);
        if (!view_.zeros.empty()) view_.zeros[i] = zero_at(segment_, row, g);
      }
    }
  }

  // A wider code keeps its distance from its zero: symmetric codes move with their centre, others stay.
  Status choose_bits() {
    const auto it = std::find_if(target_.bits.begin(), target_.bits.end(), [&](int b) { return b >= segment_.bits; });
    if (it == target_.bits.end()) return no(fmt::format("codes of {} bits", segment_.bits));
    view_.bits = *it;
    if (view_.zero_kind == ZeroKind::symmetric) view_.shift = (1 << (view_.bits - 1)) - (1 << (segment_.bits - 1));
    return {};
  }

  int64_t width(int64_t group_size) const { return group_size == 0 ? tensor_.k : group_size; }

  bool coarsens_to(int64_t group_size) const {
    const int64_t from = width(view_.group_size), to = width(group_size);
    if (to % from != 0 && to < tensor_.k) return false;
    for (int64_t row = 0; row < tensor_.n; ++row) {
      for (int64_t g = 0; g < view_.groups; ++g) {
        const auto i = static_cast<std::size_t>(row * view_.groups + g);
        const auto first = static_cast<std::size_t>(row * view_.groups + g * from / to * to / from);
        if (view_.scales[i] != view_.scales[first] || (!view_.zeros.empty() && view_.zeros[i] != view_.zeros[first])) {
          return false;
        }
      }
    }
    return true;
  }

  void regroup(int64_t group_size) {
    const int64_t from = width(view_.group_size), to = width(group_size), groups = ceil_div(tensor_.k, to);
    const auto move = [&](std::vector<float>& values) {
      if (values.empty()) return;
      std::vector<float> moved(static_cast<std::size_t>(tensor_.n * groups));
      for (int64_t row = 0; row < tensor_.n; ++row) {
        for (int64_t g = 0; g < groups; ++g) {
          moved[static_cast<std::size_t>(row * groups + g)] =
              values[static_cast<std::size_t>(row * view_.groups + g * to / from)];
        }
      }
      values = std::move(moved);
    };
    move(view_.scales);
    move(view_.zeros);
    view_.group_size = group_size;
    view_.groups = groups;
  }

  Status choose_group() {
    if (target_.groups.empty()) return {};
    const auto has = [&](int64_t g) {
      return std::find(target_.groups.begin(), target_.groups.end(), g) != target_.groups.end();
    };
    if (has(view_.group_size)) return {};
    // Dividing groups repeats their scales; the largest divisor repeats them least.
    int64_t best = -1;
    const int64_t from = width(view_.group_size);
    for (const int64_t g : target_.groups) {
      if (g != 0 && g < from && from % g == 0) best = std::max(best, g);
      if (g != 0 && view_.group_size == 0 && g < from) best = std::max(best, g);
    }
    if (best > 0) {
      regroup(best);
      return {};
    }
    for (const int64_t g : target_.groups) {
      if (width(g) >= from && coarsens_to(g)) {
        regroup(g);
        return {};
      }
    }
    return no(fmt::format("groups of {} columns", from));
  }

  // The zero of another kind that gives the same values for every code, if there is one.
  bool translate(ZeroKind kind, float scale, float old_zero, float& zero) const {
    const int levels = 1 << view_.bits;
    const auto centre = static_cast<float>(1 << (view_.bits - 1));
    const ZeroKind from = view_.zero_kind;
    const float offset = from == ZeroKind::symmetric ? centre : old_zero;
    if (kind == ZeroKind::symmetric) {
      zero = centre;
    } else if (kind == ZeroKind::minimum) {
      zero = from == ZeroKind::minimum ? old_zero : -(scale * offset);
    } else {
      zero = from == ZeroKind::minimum ? (scale == 0 ? (old_zero == 0 ? 0.0f : NAN) : -old_zero / scale) : offset;
      if (kind == ZeroKind::code) {
        zero = std::nearbyint(zero);
        if (!(zero >= 0 && zero < static_cast<float>(levels))) return false;
      }
    }
    if (!std::isfinite(zero)) return false;
    // Codes are those of the stored width: a wider target has more levels, which no weight uses.
    const int first = view_.shift, last = view_.shift + (1 << segment_.bits);
    for (int code = first; code < last; ++code) {
      const float before = value_of(from, view_.bits, scale, old_zero, code);
      if (value_of(kind, view_.bits, scale, zero, code) != before) return false;
    }
    return true;
  }

  bool try_zero(ZeroKind kind) {
    std::vector<float> zeros(view_.scales.size());
    for (std::size_t i = 0; i < zeros.size(); ++i) {
      if (!translate(kind, view_.scales[i], view_.zeros.empty() ? 0 : view_.zeros[i], zeros[i])) return false;
      if (kind == ZeroKind::code && zeros[i] == 0 && !target_.zero_code_zero) return false;
    }
    if (kind == ZeroKind::minimum || kind == ZeroKind::real) {
      const auto fits = [&](DType type) { return exact_in(type, zeros); };
      if (std::none_of(target_.zero_types.begin(), target_.zero_types.end(), fits)) return false;
    }
    view_.zeros = kind == ZeroKind::symmetric ? std::vector<float>() : std::move(zeros);
    view_.zero_kind = kind;
    return true;
  }

  // w = s * (q - z) is s * (q' - middle) with q' = q - z + middle, as long as q' is a code.
  bool try_recenter() {
    if (view_.zero_kind != ZeroKind::code) return false;
    const int half = 1 << (view_.bits - 1);
    std::vector<int16_t> shifts(view_.zeros.size());
    std::vector<uint8_t> codes(static_cast<std::size_t>(tensor_.k));
    const int64_t size = width(view_.group_size);
    for (int64_t row = 0; row < tensor_.n; ++row) {
      tensor_.unpack_row_codes(row, codes.data());
      for (int64_t g = 0; g < view_.groups; ++g) {
        const auto i = static_cast<std::size_t>(row * view_.groups + g);
        const int move = half - static_cast<int>(view_.zeros[i]);
        const auto begin = codes.begin() + g * size, end = codes.begin() + std::min((g + 1) * size, tensor_.k);
        const auto [low, high] = std::minmax_element(begin, end);
        if (*low + move < 0 || *high + move >= 2 * half) return false;
        shifts[i] = static_cast<int16_t>(move);
      }
    }
    view_.group_shifts = std::move(shifts);
    view_.zeros.clear();
    view_.zero_kind = ZeroKind::symmetric;
    return true;
  }

  Status choose_zero() {
    for (const ZeroKind kind : target_.zeros) {
      if (try_zero(kind)) return {};
      if (kind == ZeroKind::symmetric && target_.recenter && try_recenter()) return {};
    }
    const bool lone = segment_.zero_kind == ZeroKind::code && !target_.zero_code_zero;
    return no(lone ? std::string("a zero point of 0; its version 2 can")
                   : fmt::format("these zeros ({})", tensor_.description()));
  }

  Status choose_types() {
    const auto pick = [](const std::vector<DType>& types, const std::vector<float>& values, DType& out) {
      for (const DType type : types) {
        if (!exact_in(type, values)) continue;
        out = type;
        return true;
      }
      return false;
    };
    if (!pick(target_.scale_types, view_.scales, view_.scale_type)) {
      return no(fmt::format("these scales ({}) without rounding them", dtype_name(segment_.scale_type)));
    }
    if (view_.zero_kind == ZeroKind::minimum || view_.zero_kind == ZeroKind::real) {
      (void)pick(target_.zero_types, view_.zeros, view_.zero_type);  // try_zero() has seen that one fits
    }
    return {};
  }

  const QTensor& tensor_;
  const AffineTarget& target_;
  std::string_view what_;
  const Segment& segment_;
  AffineView view_;
};

}  // namespace

std::vector<std::string> nearest_affine_recipes(const QTensor& tensor, const std::vector<int>& bits,
                                                const std::vector<int64_t>& groups) {
  int wanted = 0;
  int64_t own = 0;
  for (const Segment& s : tensor.segments) {
    wanted = std::max(wanted, s.encoding == Encoding::dense ? 8 : s.code_bits());
    if (s.encoding != Encoding::dense && s.group_size != 0) own = own == 0 ? s.group_size : std::min(own, s.group_size);
  }
  int width = bits.back();
  for (auto it = bits.rbegin(); it != bits.rend(); ++it) {
    if (*it >= wanted) width = *it;
  }
  std::vector<int64_t> sizes{own == 0 ? int64_t{-1} : own};
  for (const int64_t g : groups) {
    if (g != sizes.front()) sizes.push_back(g);
  }
  std::vector<std::string> recipes;
  for (const int64_t g : sizes) {
    for (const bool sym : {false, true}) {
      recipes.push_back(fmt::format("rtn:bits={},group_size={},sym={}", width, g, sym));
    }
  }
  return recipes;
}

float scale_at(const Segment& s, int64_t row, int64_t group) noexcept {
  const int64_t i = (row / kTileRows * s.groups() + group) * kTileRows + row % kTileRows;
  return load(s.scale_type, s.scales.data() + i * dtype_bytes(s.scale_type));
}

float zero_at(const Segment& s, int64_t row, int64_t group) noexcept {
  const int64_t slot = row / kTileRows * s.groups() + group, r = row % kTileRows;
  if (s.zero_kind == ZeroKind::symmetric) return static_cast<float>(1 << (s.bits - 1));
  if (s.zero_kind != ZeroKind::code) {
    return load(s.zero_type, s.zeros.data() + (slot * kTileRows + r) * dtype_bytes(s.zero_type));
  }
  const std::byte* stream = s.zeros.data() + slot * 2 * s.bits;
  const int64_t bit = r * s.bits;
  auto two = static_cast<uint32_t>(stream[bit / 8]);
  if (bit % 8 + s.bits > 8) two |= static_cast<uint32_t>(stream[bit / 8 + 1]) << 8;
  return static_cast<float>((two >> (bit % 8)) & ((1u << s.bits) - 1u));
}

bool exact_in(DType type, const std::vector<float>& values) noexcept {
  return std::all_of(values.begin(), values.end(), [&](float value) { return exact(type, value); });
}

void AffineView::codes(int64_t row, uint8_t* out) const {
  tensor->unpack_row_codes(row, out);
  if (!group_shifts.empty()) {
    const int64_t size = group_size == 0 ? tensor->k : group_size;
    for (int64_t c = 0; c < tensor->k; ++c) {
      out[c] = static_cast<uint8_t>(out[c] + group_shifts[static_cast<std::size_t>(row * groups + c / size)]);
    }
  }
  if (shift == 0) return;
  for (int64_t c = 0; c < tensor->k; ++c) out[c] = static_cast<uint8_t>(out[c] + shift);
}

Result<AffineView> recode_affine(const QTensor& tensor, const AffineTarget& target, std::string_view what) {
  return Recoder(tensor, target, what).run();
}

}  // namespace nbl::dialects
