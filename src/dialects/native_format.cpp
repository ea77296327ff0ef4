#include "dialects/native_format.h"

#include <fmt/format.h>

#include <cmath>

#include "base/bounds.h"
#include "base/checked.h"

namespace nbl::dialects::native {
namespace {

constexpr BoundOf<int64_t> kMaxDimension{Bound::tensor_dimension};
constexpr BoundOf<int64_t> kMaxElements{Bound::tensor_elements};
constexpr BoundOf<std::size_t> kMaxSegments{Bound::tensor_segments};

constexpr const char* kEncodings[] = {"affine", "codebook", "dense", "trellis"};
constexpr const char* kRoundings[] = {"int8", "e4m3"};
constexpr const char* kZeroKinds[] = {"symmetric", "code", "minimum", "real"};
constexpr DType kTypes[] = {DType::f32, DType::f16, DType::bf16, DType::e4m3, DType::e8m0};

Status bad(std::string what) { return Status(Code::corrupt, "descriptor: " + std::move(what)); }

template <std::size_t count>
int index_of(const char* const (&names)[count], std::string_view name) {
  for (std::size_t i = 0; i < count; ++i) {
    if (name == names[i]) return static_cast<int>(i);
  }
  return -1;
}

Result<DType> type_of(const Json& json, std::string_view key) {
  NBL_ASSIGN(const std::string name, json.get_string(key));
  for (const DType type : kTypes) {
    if (name == dtype_name(type)) return type;
  }
  return bad(fmt::format("{} of unknown type '{}'", key, name.substr(0, 40)));
}

Result<Segment> parse_segment(const Json& json) {
  Segment s;
  NBL_ASSIGN(s.k_count, json.get_int("columns"));
  NBL_ASSIGN(const std::string encoding, json.get_string("encoding"));
  const int index = index_of(kEncodings, encoding);
  if (index < 0) return bad(fmt::format("unknown encoding '{}'", encoding.substr(0, 40)));
  s.encoding = static_cast<Encoding>(index);
  if (s.encoding == Encoding::dense) {
    NBL_ASSIGN(s.value_type, type_of(json, "type"));
    NBL_ASSIGN(s.scaled, json.bool_or("scaled", false));
    if (!s.scaled) return s;
  }
  NBL_ASSIGN(const int64_t bits, s.scaled ? Result<int64_t>(1) : json.get_int("bits"));
  NBL_ASSIGN(s.group_size, json.get_int("group"));
  NBL_ASSIGN(s.scale_type, type_of(json, "scale"));
  if (bits < 1 || bits > 8 || s.group_size < 0 || s.group_size > kMaxDimension) {
    return bad(fmt::format("{} bits in groups of {}", bits, s.group_size));
  }
  if (s.scaled) return s;
  s.bits = static_cast<int>(bits);
  if (s.has_table()) {
    const Json* table = json.find("table");
    if (table == nullptr || table->size() != s.table.size()) return bad("a codebook is no array of 16 numbers");
    for (std::size_t i = 0; i < s.table.size(); ++i) {
      const Json& value = table->elements()[i];
      if (!value.is_number()) return bad("a codebook is no array of 16 numbers");
      s.table[i] = static_cast<float>(value.as_double());
    }
    return s;
  }
  NBL_ASSIGN(const std::string zero, json.get_string("zero"));
  const int kind = index_of(kZeroKinds, zero);
  if (kind < 0) return bad(fmt::format("unknown kind of zero '{}'", zero.substr(0, 40)));
  s.zero_kind = static_cast<ZeroKind>(kind);
  if (s.zero_kind == ZeroKind::minimum || s.zero_kind == ZeroKind::real) {
    NBL_ASSIGN(s.zero_type, type_of(json, "zero_type"));
  }
  return s;
}

// Whether the optional parts exist is remembered in their sizes while a descriptor is read: an empty storage is no part.
constexpr std::byte kExpected[1] = {};

void add_scale_codes(const std::string& prefix, int64_t n, int64_t groups, ScaleCodes& codes, std::vector<Part>& parts) {
  const int64_t supers = codes.super_bytes(n, groups);
  if (codes.bits > 0) parts.push_back({prefix + "_codes", codes.code_bytes(n, groups), &codes.codes});
  parts.push_back({prefix + "_supers", supers, &codes.supers});
  if (!codes.addends.empty()) parts.push_back({prefix + "_addends", supers, &codes.addends});
  if (!codes.table.empty()) parts.push_back({prefix + "_table", codes.table_bytes(), &codes.table});
}

Json describe_scale_codes(const ScaleCodes& codes) {
  Json json = Json::object();
  json.set("bits", codes.bits);
  json.set("offset", codes.offset);
  json.set("shift", static_cast<double>(codes.shift));
  json.set("rows", codes.rows);
  json.set("groups", codes.groups);
  json.set("super", dtype_name(codes.super_type));
  json.set("addends", !codes.addends.empty());
  json.set("table", !codes.table.empty());
  return json;
}

Result<ScaleCodes> parse_scale_codes(const Json& json) {
  ScaleCodes codes;
  NBL_ASSIGN(const int64_t bits, json.get_int("bits"));
  NBL_ASSIGN(const int64_t offset, json.get_int("offset"));
  NBL_ASSIGN(const double shift, json.get_double("shift"));
  NBL_ASSIGN(codes.rows, json.get_int("rows"));
  NBL_ASSIGN(codes.groups, json.get_int("groups"));
  NBL_ASSIGN(codes.super_type, type_of(json, "super"));
  NBL_ASSIGN(const bool addends, json.bool_or("addends", false));
  NBL_ASSIGN(const bool table, json.bool_or("table", false));
  if (bits < 0 || bits > 8 || offset < -256 || offset > 256 || codes.rows < 0 || codes.rows > kMaxDimension ||
      codes.groups < 1 || codes.groups > kMaxDimension) {
    return bad(fmt::format("quantized scales of {} bits, {} rows x {} groups", bits, codes.rows, codes.groups));
  }
  codes.bits = static_cast<int>(bits);
  codes.offset = static_cast<int>(offset);
  codes.shift = static_cast<float>(shift);
  if (addends) codes.addends = Storage::borrow(kExpected, nullptr);
  if (table) codes.table = Storage::borrow(kExpected, nullptr);
  return codes;
}

Status parse_scale_parts(const Json& json, Segment& s) {
  if (const Json* codes = json.find("scale_codes")) {
    NBL_ASSIGN(s.scale_codes, parse_scale_codes(*codes));
  }
  if (const Json* codes = json.find("zero_codes")) {
    NBL_ASSIGN(s.zero_codes, parse_scale_codes(*codes));
  }
  return {};
}

}  // namespace

std::vector<Part> parts_of(QTensor& t, bool column_order, bool input_scale) {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < t.segments.size(); ++i) {
    Segment& s = t.segments[i];
    parts.push_back({fmt::format(".{}.codes", i), s.code_bytes(t.n), &s.codes});
    if (s.encoding == Encoding::dense && !s.scaled) continue;
    if (s.scale_codes) {
      add_scale_codes(fmt::format(".{}.scale", i), t.n, s.groups(), *s.scale_codes, parts);
    } else {
      parts.push_back({fmt::format(".{}.scales", i), s.scale_bytes(t.n), &s.scales});
    }
    if (s.zero_codes) {
      add_scale_codes(fmt::format(".{}.zero", i), t.n, s.groups(), *s.zero_codes, parts);
    } else if (s.zero_bytes(t.n) != 0) {
      parts.push_back({fmt::format(".{}.zeros", i), s.zero_bytes(t.n), &s.zeros});
    }
  }
  if (column_order) parts.push_back({".column_order", 4 * t.k, &t.column_order});
  if (input_scale) parts.push_back({".input_scale", 4 * t.k, &t.input_scale});
  if (t.outliers) {
    Outliers& o = *t.outliers;
    parts.push_back({".outlier_rows", 4 * (t.n + 1), &o.row_offsets});
    parts.push_back({".outlier_columns", 4 * o.count, &o.columns});
    parts.push_back({".outlier_values", 2 * o.count, &o.values});
  }
  return parts;
}

Json describe(const QTensor& t) {
  Json segments = Json::array();
  for (const Segment& s : t.segments) {
    Json json = Json::object();
    json.set("columns", s.k_count);
    json.set("encoding", kEncodings[static_cast<int>(s.encoding)]);
    if (s.encoding == Encoding::dense) {
      json.set("type", dtype_name(s.value_type));
      if (s.scaled) {
        json.set("scaled", true);
        json.set("group", s.group_size);
        json.set("scale", dtype_name(s.scale_type));
      }
    } else {
      json.set("bits", s.bits);
      json.set("group", s.group_size);
      json.set("scale", dtype_name(s.scale_type));
      if (s.has_table()) {
        Json table = Json::array();
        for (const float value : s.table) table.push_back(static_cast<double>(value));
        json.set("table", std::move(table));
      } else {
        json.set("zero", kZeroKinds[static_cast<int>(s.zero_kind)]);
        if (s.zero_kind == ZeroKind::minimum || s.zero_kind == ZeroKind::real)
          json.set("zero_type", dtype_name(s.zero_type));
      }
    }
    if (s.scale_codes) json.set("scale_codes", describe_scale_codes(*s.scale_codes));
    if (s.zero_codes) json.set("zero_codes", describe_scale_codes(*s.zero_codes));
    segments.push_back(std::move(json));
  }
  Json shape = Json::array();
  shape.push_back(t.n);
  shape.push_back(t.k);
  Json json = Json::object();
  json.set("shape", std::move(shape));
  json.set("segments", std::move(segments));
  if (!t.column_order.empty()) json.set("column_order", true);
  if (!t.input_scale.empty()) json.set("input_scale", true);
  if (t.outliers) json.set("outliers", t.outliers->count);
  if (t.input_rounding) {
    const InputRounding& r = *t.input_rounding;
    Json rounding = Json::object();
    rounding.set("type", kRoundings[static_cast<int>(r.type)]);
    rounding.set("scale", static_cast<double>(r.scale));
    rounding.set("threshold", static_cast<double>(r.threshold));
    json.set("input_rounding", std::move(rounding));
  }
  return json;
}

Result<QTensor> parse_descriptor(const Json& json) {
  QTensor t;
  const Json* shape = json.find("shape");
  if (shape == nullptr || shape->size() != 2 || !shape->elements()[0].is_int() || !shape->elements()[1].is_int()) {
    return bad("shape is no pair of whole numbers");
  }
  t.n = shape->elements()[0].as_int();
  t.k = shape->elements()[1].as_int();
  if (t.n <= 0 || t.k <= 0 || t.n > kMaxDimension || t.k > kMaxDimension || t.n > kMaxElements / t.k) {
    return bad(fmt::format("impossible shape [{}, {}]", t.n, t.k));
  }
  const Json* segments = json.find("segments");
  if (segments == nullptr || !segments->is_array() || segments->size() == 0 || segments->size() > kMaxSegments) {
    return bad(fmt::format("segments is no array of 1 to {} objects", kMaxSegments.get()));
  }
  int64_t column = 0;
  for (const Json& element : segments->elements()) {
    NBL_ASSIGN(Segment segment, parse_segment(element));
    NBL_TRY(parse_scale_parts(element, segment));
    if (segment.k_count <= 0 || segment.k_count > t.k - column) {
      return bad(fmt::format("a segment of {} columns at column {} of {}", segment.k_count, column, t.k));
    }
    segment.k_begin = column;
    column += segment.k_count;
    t.segments.push_back(std::move(segment));
  }
  NBL_ASSIGN(const int64_t outliers, json.int_or("outliers", -1));
  if (outliers < -1 || outliers > t.n * t.k) return bad(fmt::format("{} outliers", outliers));
  if (outliers >= 0) t.outliers.emplace().count = outliers;
  if (const Json* rounding = json.find("input_rounding")) {
    NBL_ASSIGN(const std::string type, rounding->get_string("type"));
    NBL_ASSIGN(const double scale, rounding->get_double("scale"));
    NBL_ASSIGN(const double threshold, rounding->get_double("threshold"));
    const int index = index_of(kRoundings, type);
    if (index < 0) return bad(fmt::format("unknown rounding of inputs '{}'", type.substr(0, 40)));
    InputRounding& r = t.input_rounding.emplace();
    r.type = static_cast<InputRounding::Type>(index);
    r.scale = static_cast<float>(scale);
    r.threshold = static_cast<float>(threshold);
  }
  return t;
}

}  // namespace nbl::dialects::native
