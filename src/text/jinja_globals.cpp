// Functions that a template finds without being given them.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_evaluator.h"

namespace nbl::text::jinja {
namespace {

using Args = const CallArguments&;

Result<Value> range(Evaluator& e, const Value&, const Bound& bound, Args arguments) {
  const std::size_t count = arguments.positional.size();
  if (count == 0) return Status(Code::corrupt, "range() takes at least one argument");
  NBL_ASSIGN(const int64_t first, bound.integer(0, 0));
  NBL_ASSIGN(const int64_t second, bound.integer(1, 0));
  NBL_ASSIGN(const int64_t step, bound.integer(2, 1));
  const int64_t begin = count > 1 ? first : 0, end = count > 1 ? second : first;
  return e.range({begin, end, step});
}

Result<Value> make_dict_of(Evaluator& e, const Value&, const Bound&, Args arguments) {
  Dict out;
  if (arguments.positional.size() > 1) return Status(Code::corrupt, "dict expected at most 1 argument");
  for (const Value& given : arguments.positional) {
    if (given.is(Kind::dict)) {
      out = given.dict();
      continue;
    }
    NBL_ASSIGN(const std::vector<Value> pairs, e.elements(given));
    for (const Value& pair : pairs) {
      NBL_ASSIGN(std::vector<Value> parts, e.elements(pair));
      if (parts.size() != 2 || !hashable(parts[0])) return Status(Code::corrupt, "dict() needs pairs of key and value");
      out.set(std::move(parts[0]), std::move(parts[1]));
    }
  }
  for (const auto& [name, value] : arguments.named) out.set(Value(name), value);
  return e.dict(std::move(out));
}

Result<Value> make_namespace(Evaluator& e, const Value&, const Bound&, Args arguments) {
  return e.make_namespace(arguments);
}

Result<Value> raise_exception(Evaluator&, const Value&, const Bound& bound, Args) {
  return Status(Code::corrupt, bound[0] == nullptr ? "the template raised an error" : to_text(*bound[0]));
}

Result<Value> strftime_now(Evaluator& e, const Value&, const Bound& bound, Args) {
  NBL_ASSIGN(const std::string format, bound.string(0, ""));
  if (format.size() > 4096) return Status(Code::limit, "a time format of more than 4096 bytes");
  NBL_ASSIGN(const std::tm now, e.now());
  if (format.empty()) return e.string({});
  // A trailing mark tells an empty result from one that did not fit.
  std::string out(format.size() * 64 + 256, '\0');
  out.resize(std::strftime(out.data(), out.size(), (format + "|").c_str(), &now));
  if (!out.empty()) out.pop_back();
  return e.string(std::move(out));
}

struct Cycler final : Object {
  std::vector<Value> items;
  std::size_t at = 0;
  std::string_view type() const override { return "Cycler"; }
  Value attribute(std::string_view name) const override { return name == "current" ? items[at] : Value(); }
};

struct Joiner final : Object {
  std::string separator;
  bool used = false;
  std::string_view type() const override { return "Joiner"; }
};

Result<Value> cycler_next(Evaluator&, const Value& self, const Bound&, Args) {
  auto& cycler = static_cast<Cycler&>(self.object());
  const Value out = cycler.items[cycler.at];
  cycler.at = (cycler.at + 1) % cycler.items.size();
  return out;
}

Result<Value> cycler_reset(Evaluator&, const Value& self, const Bound&, Args) {
  static_cast<Cycler&>(self.object()).at = 0;
  return Value::none();
}

Result<Value> joiner_call(Evaluator&, const Value& self, const Bound&, Args) {
  auto& joiner = static_cast<Joiner&>(self.object());
  return make_string(std::exchange(joiner.used, true) ? std::string_view(joiner.separator) : std::string_view());
}

Result<Value> make_cycler(Evaluator&, const Value&, const Bound&, Args arguments) {
  if (arguments.positional.empty()) return Status(Code::corrupt, "at least one item has to be provided to cycler()");
  auto made = std::make_shared<Cycler>();
  made->items = arguments.positional;
  return Value(std::shared_ptr<Object>(std::move(made)));
}

constexpr Builtin kJoinerCall{"joiner", "", joiner_call};

Result<Value> make_joiner(Evaluator&, const Value&, const Bound& bound, Args) {
  auto made = std::make_shared<Joiner>();
  NBL_ASSIGN(made->separator, bound.string(0, ", "));
  return bind_builtin(kJoinerCall, Value(std::shared_ptr<Object>(std::move(made))));
}

constexpr std::array<Builtin, 7> kGlobals = {{
    {"range", "start stop step", range},
    {"dict", "*", make_dict_of},
    {"namespace", "*", make_namespace},
    {"raise_exception", "message", raise_exception},
    {"strftime_now", "format", strftime_now},
    {"cycler", "*", make_cycler},
    {"joiner", "sep", make_joiner},
}};

constexpr Builtin kCyclerNext{"next", "", cycler_next};
constexpr Builtin kCyclerReset{"reset", "", cycler_reset};

}  // namespace

Value find_global(std::string_view name) {
  for (const Builtin& builtin : kGlobals) {
    if (builtin.name == name) return bind_builtin(builtin, Value::none());
  }
  return {};
}

Value bind_builtin(const Builtin& builtin, Value self) {
  auto made = std::make_shared<BuiltinObject>();
  made->builtin = &builtin;
  made->self = std::move(self);
  return Value(std::shared_ptr<Object>(std::move(made)));
}

Result<Value> run_builtin(Evaluator& evaluator, const Builtin& builtin, const Value& self,
                          const CallArguments& arguments) {
  NBL_ASSIGN(const Bound bound, Bound::bind(builtin.name, builtin.signature, arguments));
  return builtin.run(evaluator, self, bound, arguments);
}

/// Methods of the objects made here.
Value find_object_method(const Value& self, std::string_view name) {
  if (dynamic_cast<Cycler*>(&self.object()) == nullptr) return {};
  if (name == "next") return bind_builtin(kCyclerNext, self);
  if (name == "reset") return bind_builtin(kCyclerReset, self);
  return {};
}

}  // namespace nbl::text::jinja
