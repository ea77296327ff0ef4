// Arithmetic, containment, sequences as elements, and the making of values within the budget.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_evaluator.h"
#include "text/utf8.h"

namespace nbl::text::jinja {
namespace {

Status unsupported_operands(std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined() || b.is_undefined()) return Status(Code::corrupt, std::string((a.is_undefined() ? a : b).why()));
  if (op == "+" && a.is_string()) {
    return Status(Code::corrupt, fmt::format("can only concatenate str (not \"{}\") to str", type_name(b)));
  }
  return Status(Code::corrupt,
                fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(a), type_name(b)));
}

constexpr int64_t kMaxRange = 100000;  // as jinja2's sandbox has it

Status overflow() { return Status(Code::limit, "an integer exceeds 64 bits"); }

Result<Value> power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return Status(Code::corrupt, "0.0 cannot be raised to a negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t out = 1;
  if (base == 0 || base == 1) return Value(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  for (; exponent > 0; --exponent) {
    if (__builtin_mul_overflow(out, base, &out)) return overflow();
  }
  return Value(out);
}

Result<Value> integers(std::string_view op, int64_t a, int64_t b) {
  int64_t out = 0;
  if (op == "+") return __builtin_add_overflow(a, b, &out) ? Result<Value>(overflow()) : Value(out);
  if (op == "-") return __builtin_sub_overflow(a, b, &out) ? Result<Value>(overflow()) : Value(out);
  if (op == "*") return __builtin_mul_overflow(a, b, &out) ? Result<Value>(overflow()) : Value(out);
  if (op == "**") return power(a, b);
  if (b == 0) return Status(Code::corrupt, op == "/" ? "division by zero" : "integer division or modulo by zero");
  if (op == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) return op == "%" ? Value(int64_t{0}) : integers("-", 0, a);
  const int64_t quotient = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
  return Value(op == "%" ? a - quotient * b : quotient);
}

Result<Value> reals(std::string_view op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "**" && a == 0 && b < 0) return Status(Code::corrupt, "0.0 cannot be raised to a negative power");
  if (op == "**" && a < 0 && std::isfinite(b) && std::floor(b) != b) return Status(Code::unsupported, "complex numbers are not supported");
  if (op == "**") return Value(std::pow(a, b));
  if (b == 0) return Status(Code::corrupt, op == "/" ? "float division by zero" : "float floor division by zero");
  if (op == "/") return Value(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return Value(rest);
  return Value(std::floor((a - rest) / b + 0.5));
}

}  // namespace

Result<Value> Evaluator::binary(std::string_view op, const Value& a, const Value& b) {
  if (op == "negate" || op == "plus") {
    if (!a.is_number()) return unsupported_operands(op == "negate" ? "unary -" : "unary +", a, a);
    if (a.is(Kind::real)) return Value(op == "plus" ? a.real() : -a.real());
    return op == "plus" ? Result<Value>(Value(a.integer())) : integers("-", 0, a.integer());
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    NBL_TRY(move_bytes(a.string().size() + b.string().size()));
    return Value(a.string() + b.string());
  }
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return integers(op, a.integer(), b.integer());
    return reals(op, a.real(), b.real());
  }
  if (op == "+" && a.is(Kind::list) && b.is(Kind::list) && a.list().kind == b.list().kind &&
      is_joinable(a.list().kind)) {
    std::vector<Value> items = a.list().items;
    items.insert(items.end(), b.list().items.begin(), b.list().items.end());
    return list(std::move(items), a.list().kind);
  }
  if (op == "%" && a.is_string()) {
    NBL_ASSIGN(std::string out, format_percent(*this, a.string(), b));
    return string(std::move(out));
  }
  if (op == "*" && (a.is_integral() || b.is_integral())) {
    const Value& what = a.is_integral() ? b : a;
    const int64_t times = std::max<int64_t>(0, (a.is_integral() ? a : b).integer());
    if (what.is_string()) {
      int64_t bytes = 0;
      if (__builtin_mul_overflow(times, static_cast<int64_t>(what.string().size()), &bytes)) return overflow();
      NBL_TRY(move_bytes(static_cast<std::size_t>(bytes)));
      std::string out;
      out.reserve(static_cast<std::size_t>(bytes));
      for (int64_t i = 0; i < times && bytes > 0; ++i) out += what.string();
      return Value(std::move(out));
    }
    if (what.is(Kind::list) && is_joinable(what.list().kind)) {
      int64_t bytes = 0;
      if (__builtin_mul_overflow(times, static_cast<int64_t>(what.list().items.size() * sizeof(Value)), &bytes))
        return overflow();
      NBL_TRY(move_bytes(static_cast<std::size_t>(bytes)));
      std::vector<Value> items;
      for (int64_t i = 0; i < times && bytes > 0; ++i) {
        items.insert(items.end(), what.list().items.begin(), what.list().items.end());
      }
      return list(std::move(items), what.list().kind);
    }
  }
  return unsupported_operands(op, a, b);
}

Result<bool> Evaluator::equals(const Value& a, const Value& b) {
  NBL_TRY(spend(1 + std::min(weight_of(a), weight_of(b)) / 16));
  if (options().strict_undefined && (a.is_undefined() || b.is_undefined())) {
    return Status(Code::corrupt, std::string((a.is_undefined() ? a : b).why()));
  }
  return equal(a, b);
}

Result<bool> Evaluator::contains(const Value& container, const Value& value) {
  if (container.is_string()) {
    if (!value.is_string()) {
      return Status(Code::corrupt,
                    fmt::format("'in <string>' requires string as left operand, not {}", type_name(value)));
    }
    NBL_TRY(spend(1 + static_cast<int64_t>(container.string().size() / 64)));
    return container.string().find(value.string()) != std::string::npos;
  }
  if (container.is(Kind::dict)) {
    if (!hashable(value)) return Status(Code::corrupt, fmt::format("unhashable type: '{}'", type_name(value)));
    return container.dict().find(value) != nullptr;
  }
  if (container.is(Kind::list)) {
    for (const Value& each : container.list().items) {
      NBL_ASSIGN(const bool same, equals(each, value));
      if (same) return true;
    }
    return false;
  }
  if (container.is_undefined()) {
    if (options().strict_undefined) return Status(Code::corrupt, std::string(container.why()));
    return false;
  }
  return Status(Code::corrupt, fmt::format("argument of type '{}' is not iterable", type_name(container)));
}

Result<std::vector<Value>> Evaluator::elements(const Value& value) {
  if (value.is(Kind::list)) {
    NBL_TRY(move_bytes(value.list().items.size() * sizeof(Value)));
    return value.list().items;
  }
  std::vector<Value> out;
  if (value.is(Kind::dict)) {
    NBL_TRY(move_bytes(value.dict().items.size() * sizeof(Value)));
    for (const auto& [key, item] : value.dict().items) out.push_back(key);
    return out;
  }
  if (value.is_string()) {
    NBL_TRY(spend(1 + static_cast<int64_t>(value.string().size())));
    NBL_TRY(take(80 * static_cast<int64_t>(value.string().size())));
    const std::string& text = value.string();
    for (std::size_t i = 0; i < text.size(); i += utf8_length(text[i])) {
      out.push_back(make_string(std::string_view(text).substr(i, utf8_length(text[i]))));
    }
    return out;
  }
  if (value.is_undefined() && !options().strict_undefined) return out;
  if (value.is_undefined()) return Status(Code::corrupt, std::string(value.why()));
  return Status(Code::corrupt, fmt::format("'{}' object is not iterable", type_name(value)));
}

Result<Value> Evaluator::text_of(const Value& value) {
  if (value.is_string()) return value;
  if (value.is_undefined() && options().strict_undefined) return Status(Code::corrupt, std::string(value.why()));
  NBL_TRY(move_bytes(static_cast<std::size_t>(weight_of(value)) * 8));
  return Value(to_text(value));
}

Result<Value> Evaluator::string(std::string text) {
  NBL_TRY(move_bytes(text.size() + 48));
  return Value(std::move(text));
}

Result<Value> Evaluator::list(std::vector<Value> items, ListKind kind) {
  NBL_TRY(move_bytes(items.size() * sizeof(Value) + 64));
  Value out = make_list(std::move(items), kind);
  const int most = options().limits.max_depth;
  if (out.list().depth > most) return Status(Code::limit, fmt::format("lists are nested deeper than {}", most));
  return out;
}

Result<Value> Evaluator::range(const RangeBounds& bounds) {
  if (bounds.step == 0) return Status(Code::corrupt, "range() arg 3 must not be zero");
  const auto distance = static_cast<long double>(bounds.stop) - static_cast<long double>(bounds.start);
  if (distance / static_cast<long double>(bounds.step) > static_cast<long double>(kMaxRange)) {
    return Status(Code::limit, fmt::format("a range of more than {} numbers", kMaxRange));
  }
  Value out = make_range(bounds);
  NBL_TRY(move_bytes(out.list().items.size() * sizeof(Value) + 64));
  return out;
}

Result<Value> Evaluator::dict(Dict dict) {
  NBL_TRY(move_bytes(dict.items.size() * 4 * sizeof(Value) + 64));
  const int most = options().limits.max_depth;
  if (dict.depth > most) return Status(Code::limit, fmt::format("mappings are nested deeper than {}", most));
  return make_dict(std::move(dict));
}

Result<Value> Evaluator::make_namespace(const CallArguments& arguments) {
  auto made = std::make_shared<Namespace>();
  if (arguments.positional.size() > 1) return Status(Code::corrupt, "namespace() takes one mapping at most");
  if (!arguments.positional.empty()) {
    if (!arguments.positional[0].is(Kind::dict)) return Status(Code::corrupt, "namespace() takes a mapping");
    made->members = arguments.positional[0].dict();
  }
  for (const auto& [name, value] : arguments.named) made->members.set(Value(name), value);
  for (const auto& [name, value] : made->members.items) {
    if (name.is_string() && name.string().starts_with('_')) {
      return Status(Code::corrupt, fmt::format("a namespace cannot hold the name '{}'", name.string()));
    }
  }
  NBL_TRY(take(512 + 64 * static_cast<int64_t>(made->members.items.size())));
  namespaces_.push_back(made);
  return Value(std::shared_ptr<Object>(made));
}

Result<Bound> Bound::bind(std::string_view what, std::string_view signature, const CallArguments& arguments) {
  Bound out;
  out.what_ = what;
  if (signature == "*") return out;
  std::vector<std::string_view> names;
  while (!signature.empty()) {
    const std::size_t space = signature.find(' ');
    names.push_back(signature.substr(0, space));
    signature.remove_prefix(space == std::string_view::npos ? signature.size() : space + 1);
  }
  if (arguments.positional.size() > names.size()) {
    return Status(Code::corrupt, fmt::format("{}() takes at most {} arguments, {} given", what, names.size(),
                                             arguments.positional.size()));
  }
  out.values_.resize(names.size(), nullptr);
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) out.values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      return Status(Code::corrupt, fmt::format("{}() got an unexpected keyword argument '{}'", what, name));
    }
    const Value*& slot = out.values_[static_cast<std::size_t>(found - names.begin())];
    if (slot != nullptr)
      return Status(Code::corrupt, fmt::format("{}() got multiple values for argument '{}'", what, name));
    slot = &value;
  }
  return out;
}

Result<int64_t> Bound::integer(std::size_t i, int64_t fallback) const {
  const Value* value = (*this)[i];
  if (value == nullptr) return fallback;
  if (!value->is_integral()) {
    return Status(Code::corrupt, fmt::format("{}() needs an integer, not '{}'", what_, type_name(*value)));
  }
  return value->integer();
}

Result<std::string> Bound::string(std::size_t i, std::string_view fallback) const {
  const Value* value = (*this)[i];
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) {
    return Status(Code::corrupt, fmt::format("{}() needs a string, not '{}'", what_, type_name(*value)));
  }
  return value->string();
}

}  // namespace nbl::text::jinja
