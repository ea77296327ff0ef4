// Expressions: names, calls, subscripts, logic.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_evaluator.h"
#include "text/jinja_filters.h"
#include "text/jinja_lexer.h"
#include "text/utf8.h"

namespace nbl::text::jinja {

Value Evaluator::lookup(std::string_view name) const {
  for (const Scope* s = scope_; s != nullptr; s = s->parent) {
    for (const auto& [known, value] : s->names) {
      if (known == name) return value;
    }
  }
  if (const Value* found = variables_.dict().find(name)) return *found;
  Value global = find_global(name);
  if (!global.is_undefined()) return global;
  return Value::undefined(fmt::format("'{}' is undefined", name));
}

Result<bool> Evaluator::truthy(const Value& value) const {
  if (value.is_undefined() && options().strict_undefined) return Status(Code::corrupt, std::string(value.why()));
  return truth(value);
}

Result<Value> Evaluator::eval(const Expr& expr) {
  if (expr.kind == ExprKind::constant) return expr.value;
  // Not located when the depth is exceeded: the innermost expression says little.
  if (++depth_ > options().limits.max_depth * 5) {
    return located(
        Status(Code::limit, fmt::format("the template recurses deeper than {} steps", options().limits.max_depth * 5)),
        expr.line);
  }
  Status budget = spend(1);
  Result<Value> out = budget.ok() ? eval_kind(expr) : Result<Value>(std::move(budget));
  --depth_;
  if (!out.ok()) return located(out.status(), expr.line);
  return out;
}

Result<Value> Evaluator::eval_kind(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::constant:
      return expr.value;
    case ExprKind::name:
      return lookup(expr.text);
    case ExprKind::list:
    case ExprKind::tuple: {
      std::vector<Value> items;
      items.reserve(expr.items.size());
      for (const ExprPtr& item : expr.items) {
        NBL_ASSIGN(Value value, eval(*item));
        items.push_back(std::move(value));
      }
      return list(std::move(items), expr.kind == ExprKind::list ? ListKind::list : ListKind::tuple);
    }
    case ExprKind::dict:
      return eval_dict(expr);
    case ExprKind::attribute: {
      NBL_ASSIGN(const Value object, eval(*expr.items[0]));
      return attribute(object, expr.text);
    }
    case ExprKind::subscript: {
      NBL_ASSIGN(const Value object, eval(*expr.items[0]));
      NBL_ASSIGN(const Value key, eval(*expr.items[1]));
      return item(object, key);
    }
    case ExprKind::slice:
      return eval_slice(expr);
    case ExprKind::call: {
      NBL_ASSIGN(const Value callee, eval(*expr.items[0]));
      NBL_ASSIGN(CallArguments arguments, eval_arguments(expr.arguments));
      return call(callee, std::move(arguments));
    }
    case ExprKind::filter: {
      NBL_ASSIGN(const Value value, eval(*expr.items[0]));
      return eval_filter(expr, value);
    }
    case ExprKind::test: {
      NBL_ASSIGN(const Value value, eval(*expr.items[0]));
      NBL_ASSIGN(const CallArguments arguments, eval_arguments(expr.arguments));
      NBL_ASSIGN(const Bound bound, Bound::bind(expr.text, expr.test->signature, arguments));
      NBL_ASSIGN(const bool yes, expr.test->run(*this, value, bound, arguments));
      return Value(yes);
    }
    case ExprKind::negate:
    case ExprKind::plus: {
      NBL_ASSIGN(const Value value, eval(*expr.items[0]));
      return expr.kind == ExprKind::negate ? binary("negate", value, value) : binary("plus", value, value);
    }
    case ExprKind::logical_not: {
      NBL_ASSIGN(const Value value, eval(*expr.items[0]));
      NBL_ASSIGN(const bool yes, truthy(value));
      return Value(!yes);
    }
    case ExprKind::logical_and:
    case ExprKind::logical_or: {
      NBL_ASSIGN(Value left, eval(*expr.items[0]));
      NBL_ASSIGN(const bool yes, truthy(left));
      if (yes == (expr.kind == ExprKind::logical_or)) return left;
      return eval(*expr.items[1]);
    }
    case ExprKind::binary: {
      NBL_ASSIGN(const Value left, eval(*expr.items[0]));
      NBL_ASSIGN(const Value right, eval(*expr.items[1]));
      return binary(expr.text, left, right);
    }
    case ExprKind::concat: {
      std::string out;
      for (const ExprPtr& each : expr.items) {
        NBL_ASSIGN(const Value value, eval(*each));
        NBL_TRY(print(value, out));
      }
      return Value(std::move(out));
    }
    case ExprKind::compare:
      return eval_compare(expr);
    case ExprKind::conditional: {
      NBL_ASSIGN(const Value condition, eval(*expr.items[0]));
      NBL_ASSIGN(const bool yes, truthy(condition));
      if (yes) return eval(*expr.items[1]);
      if (expr.items[2] != nullptr) return eval(*expr.items[2]);
      return Value::undefined("the inline if-expression evaluated to false and no else section was defined.");
    }
  }
  return Status(Code::internal, "an expression of no kind");
}

Result<Value> Evaluator::eval_dict(const Expr& expr) {
  Dict out;
  for (std::size_t i = 0; i + 1 < expr.items.size(); i += 2) {
    NBL_ASSIGN(Value key, eval(*expr.items[i]));
    NBL_ASSIGN(Value value, eval(*expr.items[i + 1]));
    if (!hashable(key)) return Status(Code::corrupt, fmt::format("unhashable type: '{}'", type_name(key)));
    out.set(std::move(key), std::move(value));
  }
  return dict(std::move(out));
}

Result<Value> Evaluator::eval_filter(const Expr& expr, const Value& given) {
  // In a filter block and a block set, the innermost filter has no operand of its own.
  Value value = given;
  if (expr.items[0] == nullptr || expr.items[0]->kind == ExprKind::filter) {
    if (expr.items[0] != nullptr) {
      const Expr* innermost = &expr;
      while (innermost->kind == ExprKind::filter && innermost->items[0] != nullptr)
        innermost = innermost->items[0].get();
      if (innermost->kind == ExprKind::filter && innermost->items[0] == nullptr) {
        NBL_ASSIGN(value, eval_filter(*expr.items[0], given));
      }
    }
  }
  NBL_ASSIGN(const CallArguments arguments, eval_arguments(expr.arguments));
  if (expr.filter != nullptr) {
    NBL_ASSIGN(const Bound bound, Bound::bind(expr.text, expr.filter->signature, arguments));
    return expr.filter->run(*this, value, bound, arguments);
  }
  return apply_filter(expr.text, value, arguments);
}

Result<Value> Evaluator::apply_filter(std::string_view name, const Value& value, const CallArguments& arguments) {
  const auto own = options().filters.find(std::string(name));
  if (own != options().filters.end()) {
    NBL_ASSIGN(const Json json, to_json(value));
    std::vector<Json> list;
    for (const Value& each : arguments.positional) {
      NBL_ASSIGN(Json argument, to_json(each));
      list.push_back(std::move(argument));
    }
    NBL_ASSIGN(const Json out, own->second(json, list));
    NBL_TRY(take(bytes_of(out)));
    return from_json(out);
  }
  const Filter* filter = find_filter(name);
  if (filter == nullptr) return Status(Code::unsupported, no_filter(name));
  NBL_ASSIGN(const Bound bound, Bound::bind(name, filter->signature, arguments));
  NBL_TRY(spend(1));
  return filter->run(*this, value, bound, arguments);
}

Result<bool> Evaluator::apply_test(std::string_view name, const Value& value, const CallArguments& arguments) {
  const Test* test = find_test(name);
  if (test == nullptr) return Status(Code::unsupported, fmt::format("there is no test '{}'", name));
  NBL_ASSIGN(const Bound bound, Bound::bind(name, test->signature, arguments));
  NBL_TRY(spend(1));
  return test->run(*this, value, bound, arguments);
}

Result<CallArguments> Evaluator::eval_arguments(const Arguments& arguments) {
  CallArguments out;
  for (const ExprPtr& each : arguments.positional) {
    NBL_ASSIGN(Value value, eval(*each));
    out.positional.push_back(std::move(value));
  }
  if (arguments.more_positional != nullptr) {
    NBL_ASSIGN(const Value value, eval(*arguments.more_positional));
    NBL_ASSIGN(const std::vector<Value> more, elements(value));
    out.positional.insert(out.positional.end(), more.begin(), more.end());
  }
  for (const auto& [name, each] : arguments.named) {
    NBL_ASSIGN(Value value, eval(*each));
    out.named.emplace_back(name, std::move(value));
  }
  if (arguments.more_named != nullptr) {
    NBL_ASSIGN(const Value value, eval(*arguments.more_named));
    if (!value.is(Kind::dict)) return Status(Code::corrupt, "the argument after ** must be a mapping");
    for (const auto& [name, each] : value.dict().items) {
      if (!name.is_string()) return Status(Code::corrupt, "keywords must be strings");
      out.named.emplace_back(name.string(), each);
    }
    NBL_TRY(take(64 * static_cast<int64_t>(value.dict().items.size())));
  }
  return out;
}

Result<Value> Evaluator::eval_compare(const Expr& expr) {
  NBL_ASSIGN(Value left, eval(*expr.items[0]));
  for (std::size_t i = 0; i < expr.operators.size(); ++i) {
    NBL_ASSIGN(Value right, eval(*expr.items[i + 1]));
    const std::string& op = expr.operators[i];
    bool yes = false;
    if (op == "==" || op == "!=") {
      NBL_ASSIGN(const bool same, equals(left, right));
      yes = same == (op == "==");
    } else if (op == "in" || op == "not in") {
      NBL_ASSIGN(const bool in, contains(right, left));
      yes = in == (op == "in");
    } else {
      NBL_TRY(spend(1 + std::min(weight_of(left), weight_of(right)) / 64));
      NBL_ASSIGN(const int order, compare(left, right));
      const bool nan =
          left.is(Kind::real) || right.is(Kind::real)
              ? left.is_number() && right.is_number() && !(left.real() == left.real() && right.real() == right.real())
              : false;
      yes = !nan && (op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0);
    }
    if (!yes) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Evaluator::eval_slice(const Expr& expr) {
  NBL_ASSIGN(const Value object, eval(*expr.items[0]));
  std::optional<int64_t> parts[3];
  for (std::size_t i = 0; i < 3; ++i) {
    if (expr.items[i + 1] == nullptr) continue;
    NBL_ASSIGN(const Value part, eval(*expr.items[i + 1]));
    if (part.is(Kind::none)) continue;
    if (!part.is_integral()) return Status(Code::corrupt, "slice indices must be integers or None");
    parts[i] = part.integer();
  }
  if (object.is_undefined()) return Status(Code::corrupt, std::string(object.why()));
  const int64_t step = parts[2].value_or(1);
  if (step == 0) return Status(Code::corrupt, "slice step cannot be zero");
  if (step == INT64_MIN) return Status(Code::corrupt, "a slice's step is out of range");
  const bool text = object.is_string();
  const bool sequence = object.is(Kind::list) && is_indexed(object.list().kind);
  if (object.is(Kind::dict)) return Status(Code::corrupt, "unhashable type: 'slice'");
  if (!text && !sequence) return Status(Code::corrupt, fmt::format("'{}' object is not subscriptable", type_name(object)));
  std::vector<std::size_t> offsets;
  if (text) {
    NBL_TRY(move_bytes(object.string().size() * 8));
    offsets = char_offsets(object.string());
  }
  const auto size = static_cast<int64_t>(text ? offsets.size() - 1 : object.list().items.size());
  const auto clamp = [&](std::optional<int64_t> at, int64_t fallback) {
    if (!at) return fallback;
    int64_t v = *at < 0 ? *at + size : *at;
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? size - 1 : size;
    return std::clamp(v, low, high);
  };
  const int64_t begin = clamp(parts[0], step < 0 ? size - 1 : 0), end = clamp(parts[1], step < 0 ? -1 : size);
  std::string out;
  std::vector<Value> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    const auto at = static_cast<std::size_t>(i);
    if (text) {
      out.append(object.string(), offsets[at], offsets[at + 1] - offsets[at]);
    } else {
      items.push_back(object.list().items[at]);
    }
    if (step > 0 ? i > size - step : i < -step) break;
    i += step;
  }
  if (text) return string(std::move(out));
  if (object.list().kind != ListKind::range) return list(std::move(items), object.list().kind);
  const RangeBounds& whole = object.list().bounds;
  const auto at = [&](int64_t i) { return whole.start + i * whole.step; };
  return range({at(begin), at(end), whole.step * step});
}

Result<Value> Evaluator::item(const Value& object, const Value& key) {
  if (object.is_undefined()) return Status(Code::corrupt, std::string(object.why()));
  if (object.is(Kind::dict) && hashable(key)) {
    if (const Value* found = object.dict().find(key)) return *found;
  } else if (key.is_integral() && (object.is_string() || object.is(Kind::list))) {
    int64_t at = key.integer();
    if (object.is_string()) {
      NBL_TRY(spend(1 + static_cast<int64_t>(object.string().size() / 64)));
      const auto size = static_cast<int64_t>(count_chars(object.string()));
      if (at < 0) at += size;
      if (at >= 0 && at < size) {
        const char* p = object.string().data();
        for (; at > 0; --at) next_valid_utf8(p);
        return make_string({p, utf8_length(*p)});
      }
    } else if (is_indexed(object.list().kind)) {
      const auto size = static_cast<int64_t>(object.list().items.size());
      if (at < 0) at += size;
      if (at >= 0 && at < size) return object.list().items[static_cast<std::size_t>(at)];
    }
  }
  if (key.is_string()) {
    NBL_ASSIGN(Value found, attribute(object, key.string()));
    return found;
  }
  return Value::undefined(fmt::format("{} object has no element {}", type_name(object), repr(key)));
}

Result<Value> Evaluator::item_path(const Value& object, const Value& path) {
  if (!path.is_string()) return item(object, path);
  Value at = object;
  std::string_view rest = path.string();
  for (;;) {
    const std::size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    const bool number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string_view::npos;
    NBL_ASSIGN(at, item(at, number ? Value(int64_t{std::atoi(std::string(part).c_str())}) : make_string(part)));
    if (dot == std::string_view::npos) return at;
    rest.remove_prefix(dot + 1);
  }
}

}  // namespace nbl::text::jinja
