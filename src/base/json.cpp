#include "base/json.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

#include "base/json_rep.h"

namespace nbl {
namespace {

constexpr double kTwo63 = 9223372036854775808.0;

Status wrong_kind(std::string_view key, std::string_view expected, const Json& found) {
  constexpr std::size_t kShown = 40;
  std::string text = found.dump();
  if (text.size() > kShown) text = text.substr(0, kShown) + "...";
  return {Code::corrupt, fmt::format("'{}' must be {}, found {}", key, expected, text)};
}

Status missing(std::string_view key) { return {Code::corrupt, fmt::format("'{}' is missing", key)}; }

bool integral(double v) noexcept { return v >= -kTwo63 && v < kTwo63 && std::trunc(v) == v; }

void dump_string(std::string_view text, std::string& out) {
  out.push_back('"');
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, done, i - done);
    done = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    }
  }
  out.append(text, done, text.size() - done);
  out.push_back('"');
}

void new_line(std::string& out, int indent, int level) {
  if (indent < 0) return;
  out.push_back('\n');
  out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(level), ' ');
}

void dump_value(const Json& value, std::string& out, int indent, int level) {
  switch (value.kind()) {
    case Json::Kind::null:
      out += "null";
      return;
    case Json::Kind::boolean:
      out += value.as_bool() ? "true" : "false";
      return;
    case Json::Kind::integer:
      fmt::format_to(std::back_inserter(out), "{}", value.as_int());
      return;
    case Json::Kind::real:
      // The shortest digits that read back to the same double, with ".0" on whole numbers: a real stays one.
      if (std::isfinite(value.as_double())) {
        const std::string digits = fmt::format("{}", value.as_double());
        out += digits;
        if (digits.find_first_of(".e") == std::string::npos) out += ".0";
      } else {
        out += "null";
      }
      return;
    case Json::Kind::string:
      dump_string(value.as_string(), out);
      return;
    case Json::Kind::array: {
      out.push_back('[');
      bool first = true;
      for (const Json& element : value.elements()) {
        if (!first) out.push_back(',');
        first = false;
        new_line(out, indent, level + 1);
        dump_value(element, out, indent, level + 1);
      }
      if (!first) new_line(out, indent, level);
      out.push_back(']');
      return;
    }
    case Json::Kind::object: {
      out.push_back('{');
      bool first = true;
      for (const auto& [key, member] : value.members()) {
        if (!first) out.push_back(',');
        first = false;
        new_line(out, indent, level + 1);
        dump_string(key, out);
        out += indent < 0 ? ":" : ": ";
        dump_value(member, out, indent, level + 1);
      }
      if (!first) new_line(out, indent, level);
      out.push_back('}');
      return;
    }
  }
}

}  // namespace

Json::Json() noexcept = default;
Json::Json(bool value) noexcept : value_(value) {}
Json::Json(int value) noexcept : value_(int64_t{value}) {}
Json::Json(int64_t value) noexcept : value_(value) {}
Json::Json(double value) noexcept : value_(value) {}
Json::Json(const char* value) : Json(std::string(value)) {}
Json::Json(std::string_view value) : Json(std::string(value)) {}
Json::Json(std::string value) : value_(std::make_unique<std::string>(std::move(value))) {}
// Leaves null. Moving a bool, a number or a pointer throws nothing, which clang-tidy does not see through std::variant.
Json::Json(Json&& other) noexcept : value_(std::exchange(other.value_, std::monostate())) {}  // NOLINT(bugprone-exception-escape)
Json& Json::operator=(Json&& other) noexcept {
  if (this != &other) value_ = std::exchange(other.value_, std::monostate());
  return *this;
}
Json::~Json() = default;

Json::Json(const Json& other) {
  std::visit(
      [this](const auto& v) {
        if constexpr (requires { *v; }) {
          value_ = std::make_unique<std::decay_t<decltype(*v)>>(*v);
        } else {
          value_ = v;
        }
      },
      other.value_);
}

Json& Json::operator=(const Json& other) {
  if (this != &other) *this = Json(other);
  return *this;
}

Json Json::object() { return JsonBuilder::wrap(JsonObject()); }

Json Json::object(std::initializer_list<Member> members) {
  Json j = object();
  for (const auto& [key, value] : members) j.set(key, value);
  return j;
}

Json Json::array() { return JsonBuilder::wrap(std::vector<Json>()); }

Json::Kind Json::kind() const noexcept { return static_cast<Kind>(value_.index()); }

bool Json::as_bool(bool fallback) const noexcept {
  const bool* v = std::get_if<bool>(&value_);
  return v != nullptr ? *v : fallback;
}

int64_t Json::as_int(int64_t fallback) const noexcept {
  if (const int64_t* v = std::get_if<int64_t>(&value_)) return *v;
  if (const double* v = std::get_if<double>(&value_); v != nullptr && integral(*v)) return static_cast<int64_t>(*v);
  return fallback;
}

double Json::as_double(double fallback) const noexcept {
  if (const double* v = std::get_if<double>(&value_)) return *v;
  if (const int64_t* v = std::get_if<int64_t>(&value_)) return static_cast<double>(*v);
  return fallback;
}

std::string_view Json::as_string(std::string_view fallback) const noexcept {
  const auto* v = std::get_if<std::unique_ptr<std::string>>(&value_);
  return v != nullptr ? std::string_view(**v) : fallback;
}

std::span<const Json> Json::elements() const noexcept {
  const auto* v = std::get_if<std::unique_ptr<std::vector<Json>>>(&value_);
  return v != nullptr ? std::span<const Json>(**v) : std::span<const Json>();
}

std::span<const Json::Member> Json::members() const noexcept {
  const auto* v = std::get_if<std::unique_ptr<JsonObject>>(&value_);
  return v != nullptr ? (*v)->members() : std::span<const Member>();
}

std::size_t Json::size() const noexcept { return is_object() ? members().size() : elements().size(); }

const Json* Json::find(std::string_view key) const noexcept {
  const auto* object = std::get_if<std::unique_ptr<JsonObject>>(&value_);
  if (object == nullptr) return nullptr;
  const Member* member = (*object)->find(key);
  return member != nullptr ? &member->second : nullptr;
}

const Json* Json::find_value(std::string_view key) const noexcept {
  const Json* value = find(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

Result<int64_t> Json::int_or(std::string_view key, int64_t fallback) const {
  const Json* v = find_value(key);
  if (v == nullptr) return fallback;
  if (!v->is_int() && !(v->is_number() && integral(v->as_double()))) return wrong_kind(key, "an integer", *v);
  return v->as_int();
}

Result<double> Json::double_or(std::string_view key, double fallback) const {
  const Json* v = find_value(key);
  if (v == nullptr) return fallback;
  if (!v->is_number()) return wrong_kind(key, "a number", *v);
  return v->as_double();
}

Result<bool> Json::bool_or(std::string_view key, bool fallback) const {
  const Json* v = find_value(key);
  if (v == nullptr) return fallback;
  if (!v->is_bool()) return wrong_kind(key, "true or false", *v);
  return v->as_bool();
}

Result<std::string> Json::string_or(std::string_view key, std::string_view fallback) const {
  const Json* v = find_value(key);
  if (v == nullptr) return std::string(fallback);
  if (!v->is_string()) return wrong_kind(key, "a string", *v);
  return std::string(v->as_string());
}

Result<int64_t> Json::get_int(std::string_view key) const {
  if (find_value(key) == nullptr) return missing(key);
  return int_or(key, 0);
}

Result<double> Json::get_double(std::string_view key) const {
  if (find_value(key) == nullptr) return missing(key);
  return double_or(key, 0);
}

Result<std::string> Json::get_string(std::string_view key) const {
  if (find_value(key) == nullptr) return missing(key);
  return string_or(key, {});
}

Json& Json::set(std::string_view key, Json value) {
  if (!is_object()) *this = object();
  return std::get<std::unique_ptr<JsonObject>>(value_)->set(key, std::move(value));
}

void Json::erase(std::string_view key) {
  if (is_object()) std::get<std::unique_ptr<JsonObject>>(value_)->erase(key);
}

void Json::push_back(Json value) {
  if (!is_array()) *this = array();
  std::get<std::unique_ptr<std::vector<Json>>>(value_)->push_back(std::move(value));
}

std::string Json::dump(int indent) const {
  std::string out;
  dump_value(*this, out, indent, 0);
  return out;
}

bool Json::operator==(const Json& other) const {
  if (kind() != other.kind() || size() != other.size()) return false;
  switch (kind()) {
    case Kind::null:
      return true;
    case Kind::boolean:
      return as_bool() == other.as_bool();
    case Kind::integer:
      return as_int() == other.as_int();
    case Kind::real:
      return as_double() == other.as_double();
    case Kind::string:
      return as_string() == other.as_string();
    case Kind::array: {
      const auto a = elements();
      const auto b = other.elements();
      for (std::size_t i = 0; i < a.size(); ++i) {
        if (!(a[i] == b[i])) return false;
      }
      return true;
    }
    case Kind::object:
      for (const auto& [key, value] : members()) {
        const Json* theirs = other.find(key);
        if (theirs == nullptr || !(value == *theirs)) return false;
      }
      return true;
  }
  return false;
}

}  // namespace nbl
