// Statements, scopes and macros.
#include "text/jinja_evaluator.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_filters.h"
#include "text/jinja_lexer.h"

namespace nbl::text::jinja {

struct Macro final : Object {
  const Stmt* stmt = nullptr;
  Scope* definition = nullptr;
  std::string_view type() const override { return "Macro"; }
  bool callable() const override { return true; }
  Value attribute(std::string_view name) const override { return name == "name" ? Value(stmt->text) : Value(); }
};

/// `loop` inside a for.
struct LoopObject final : Object {
  std::vector<Value> items;
  std::size_t index = 0;
  int level = 0;
  const Stmt* stmt = nullptr;
  Value last_changed;  // of changed()
  bool has_changed = false;

  std::string_view type() const override { return "LoopContext"; }
  bool callable() const override { return stmt->recursive; }
  Value attribute(std::string_view name) const override;
};

namespace {

struct LoopFunction final : Object {
  std::shared_ptr<LoopObject> loop;
  bool cycle = false;
  std::string_view type() const override { return "method"; }
  bool callable() const override { return true; }
};

Result<Value> call_loop_function(Evaluator& evaluator, const LoopFunction& function, CallArguments& arguments) {
  LoopObject& loop = *function.loop;
  if (function.cycle) {
    if (arguments.positional.empty()) return Status(Code::corrupt, "no items for cycling given");
    return arguments.positional[loop.index % arguments.positional.size()];
  }
  // A loop that remembered itself would never be freed.
  for (const Value& value : arguments.positional) {
    if (value.is(Kind::object)) return Status(Code::corrupt, "loop.changed() compares plain values only");
  }
  NBL_ASSIGN(Value now, evaluator.list(std::move(arguments.positional), ListKind::tuple));
  NBL_ASSIGN(const bool same, evaluator.equals(now, loop.last_changed));
  const bool changed = !loop.has_changed || !same;
  loop.has_changed = true;
  loop.last_changed = std::move(now);
  return Value(changed);
}

}  // namespace

Value LoopObject::attribute(std::string_view name) const {
  const auto number = [](std::size_t v) { return Value(static_cast<int64_t>(v)); };
  const std::size_t n = items.size();
  if (name == "index") return number(index + 1);
  if (name == "index0") return number(index);
  if (name == "revindex") return number(n - index);
  if (name == "revindex0") return number(n - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == n);
  if (name == "length") return number(n);
  if (name == "depth") return Value(int64_t{level} + 1);
  if (name == "depth0") return Value(int64_t{level});
  if (name == "previtem") return index > 0 ? items[index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return index + 1 < n ? items[index + 1] : Value::undefined("there is no next item");
  return {};
}

/// Counts the frames of the interpreter itself, which are what a stack can run out of.
class Evaluator::Depth {
 public:
  explicit Depth(Evaluator& e) : e_(e) { ++e_.depth_; }
  ~Depth() { --e_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;
  Status status() const {
    const int most = e_.program_.options.limits.max_depth * 5;
    if (e_.depth_ <= most) return {};
    return Status(Code::limit, fmt::format("the template recurses deeper than {} steps", most));
  }

 private:
  Evaluator& e_;
};

Evaluator::Evaluator(const Program& program, const Json& variables, const std::optional<std::tm>& now)
    : program_(program), now_(now) {
  const int64_t given = bytes_of(variables);
  max_memory_ = program.options.limits.max_memory_bytes + 8 * given;
  variables_ = variables.is_object() ? from_json(variables) : make_dict({});
  scope_ = push_scope(nullptr);
}

Evaluator::~Evaluator() {
  for (const auto& object : namespaces_) static_cast<Namespace&>(*object).members = {};
}

Result<std::string> Evaluator::run() {
  std::string out;
  NBL_TRY(exec(program_.body, out).status());
  return out;
}

Status Evaluator::spend(int64_t steps) {
  steps_ += steps;
  if (steps_ <= program_.options.limits.max_steps) return {};
  return Status(Code::limit, fmt::format("the template takes more than {} steps", program_.options.limits.max_steps));
}

Status Evaluator::take(int64_t bytes) {
  memory_ += bytes;
  if (memory_ <= max_memory_) return {};
  return Status(Code::limit, fmt::format("the template makes more than {} MB of values", max_memory_ >> 20));
}

Status Evaluator::move_bytes(std::size_t bytes) {
  NBL_TRY(spend(1 + static_cast<int64_t>(bytes / 64)));
  return take(static_cast<int64_t>(bytes));
}

Status Evaluator::located(Status status, int line) {
  if (std::exchange(located_, true)) return status;
  return template_error(status.code(), line, status.message());
}

Scope* Evaluator::push_scope(Scope* parent) {
  scopes_.emplace_back();
  scopes_.back().parent = parent;
  return &scopes_.back();
}

void Evaluator::pop_scope(Scope* scope, Scope* back) {
  scope_ = back;
  if (!scope->captured && &scopes_.back() == scope) scopes_.pop_back();
}

void Evaluator::assign(std::string_view name, Value value) {
  for (auto& [known, stored] : scope_->names) {
    if (known == name) {
      stored = std::move(value);
      return;
    }
  }
  scope_->names.emplace_back(name, std::move(value));
}

Value Evaluator::make_macro(const Stmt& stmt) {
  auto macro = std::make_shared<Macro>();
  macro->stmt = &stmt;
  macro->definition = scope_;
  for (Scope* s = scope_; s != nullptr && !s->captured; s = s->parent) s->captured = true;
  return Value(std::shared_ptr<Object>(std::move(macro)));
}

Status Evaluator::print(const Value& value, std::string& out) {
  if (value.is_string()) {
    NBL_TRY(move_bytes(value.string().size()));
    out += value.string();
    return {};
  }
  NBL_ASSIGN(const Value text, text_of(value));
  NBL_TRY(move_bytes(text.string().size()));
  out += text.string();
  return {};
}

Result<Evaluator::Flow> Evaluator::exec(const Body& body, std::string& out) {
  const Depth depth(*this);
  NBL_TRY(depth.status());
  for (const auto& stmt : body) {
    NBL_TRY(spend(1));
    auto flow = exec_one(*stmt, out);
    if (!flow.ok()) return located(flow.status(), stmt->line);
    if (*flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Result<Evaluator::Flow> Evaluator::exec_one(const Stmt& stmt, std::string& out) {
  switch (stmt.kind) {
    case StmtKind::text:
      NBL_TRY(move_bytes(stmt.text.size()));
      out += stmt.text;
      return Flow::normal;
    case StmtKind::output: {
      NBL_ASSIGN(const Value value, eval(*stmt.expr));
      NBL_TRY(print(value, out));
      return Flow::normal;
    }
    case StmtKind::branch:
      return exec_branch(stmt, out);
    case StmtKind::loop: {
      NBL_ASSIGN(const Value over, eval(*stmt.expr));
      return exec_loop(stmt, over, 0, out);
    }
    case StmtKind::assign:
      NBL_TRY(exec_assign(stmt));
      return Flow::normal;
    case StmtKind::macro:
      assign(stmt.text, make_macro(stmt));
      NBL_TRY(take(256));
      return Flow::normal;
    case StmtKind::expression:
      NBL_TRY(eval(*stmt.expr).status());
      return Flow::normal;
    case StmtKind::break_loop:
      return Flow::stop;
    case StmtKind::continue_loop:
      return Flow::next;
    default:
      NBL_TRY(exec_scoped(stmt, out));
      return Flow::normal;
  }
}

Result<Evaluator::Flow> Evaluator::exec_branch(const Stmt& stmt, std::string& out) {
  for (const auto& [condition, then] : stmt.branches) {
    NBL_ASSIGN(const Value value, eval(*condition));
    NBL_ASSIGN(const bool yes, truthy(value));
    if (yes) return exec(then, out);
  }
  return exec(stmt.otherwise, out);
}

Status Evaluator::assign_to(const Target& target, const Value& value) {
  if (target.of_namespace) return assign_member(target, value);
  if (!target.unpack) {
    assign(target.name, value);
    return {};
  }
  NBL_ASSIGN(const std::vector<Value> parts, elements(value));
  if (parts.size() != target.parts.size()) {
    return Status(Code::corrupt,
                  fmt::format("{} values cannot be unpacked into {} names", parts.size(), target.parts.size()));
  }
  for (std::size_t i = 0; i < parts.size(); ++i) NBL_TRY(assign_to(target.parts[i], parts[i]));
  return {};
}

Status Evaluator::exec_assign(const Stmt& stmt) {
  NBL_ASSIGN(const Value value, eval(*stmt.expr));
  return assign_to(stmt.target, value);
}

Status Evaluator::assign_member(const Target& target, const Value& value) {
  const Value holder = lookup(target.name);
  auto* members = holder.is(Kind::object) ? dynamic_cast<Namespace*>(&holder.object()) : nullptr;
  if (members == nullptr) {
    return Status(Code::corrupt, fmt::format("cannot assign attribute on non-namespace object '{}'", target.name));
  }
  const std::string& member = target.parts[0].name;
  if (member.starts_with('_')) return Status(Code::corrupt, fmt::format("a namespace cannot hold the name '{}'", member));
  NBL_TRY(take(64));
  members->members.set(Value(member), value);
  return {};
}

Result<Evaluator::Flow> Evaluator::exec_loop(const Stmt& stmt, const Value& over, int level, std::string& out) {
  auto loop = std::make_shared<LoopObject>();
  loop->stmt = &stmt;
  loop->level = level;
  NBL_ASSIGN(loop->items, elements(over));
  Scope* const outer = scope_;
  if (stmt.condition != nullptr) {
    std::vector<Value> chosen;
    for (Value& item : loop->items) {
      scope_ = push_scope(outer);
      Scope* const mine = scope_;
      NBL_TRY(assign_to(stmt.target, item));
      NBL_ASSIGN(const Value value, eval(*stmt.condition));
      NBL_ASSIGN(const bool yes, truthy(value));
      if (yes) chosen.push_back(std::move(item));
      pop_scope(mine, outer);
    }
    loop->items = std::move(chosen);
  }
  bool completed = false;
  for (; loop->index < loop->items.size(); ++loop->index) {
    NBL_TRY(spend(1));
    scope_ = push_scope(outer);
    Scope* const mine = scope_;
    assign("loop", Value(std::shared_ptr<Object>(loop)));
    NBL_TRY(assign_to(stmt.target, loop->items[loop->index]));
    NBL_ASSIGN(const Flow flow, exec(stmt.body, out));
    if (mine->captured) NBL_TRY(take(512));
    pop_scope(mine, outer);
    if (flow == Flow::stop) break;
    completed = completed || flow == Flow::normal;
  }
  // For jinja2, a loop that left each turn early (break, continue) had nothing to go over, either.
  if (!completed && !stmt.otherwise.empty()) return exec(stmt.otherwise, out);
  return Flow::normal;
}

Status Evaluator::exec_scoped(const Stmt& stmt, std::string& out) {
  Scope* const outer = scope_;
  if (stmt.kind == StmtKind::call) {
    const Value caller = make_macro(stmt);
    NBL_TRY(take(256));
    NBL_ASSIGN(const Value callee, eval(*stmt.expr->items[0]));
    NBL_ASSIGN(CallArguments arguments, eval_arguments(stmt.expr->arguments));
    arguments.named.emplace_back("caller", caller);
    NBL_ASSIGN(const Value value, call(callee, std::move(arguments)));
    return print(value, out);
  }
  std::vector<Value> values;  // of `with`: evaluated outside
  for (const ExprPtr& value : stmt.values) {
    NBL_ASSIGN(Value each, eval(*value));
    values.push_back(std::move(each));
  }
  scope_ = push_scope(outer);
  Scope* const mine = scope_;
  for (std::size_t i = 0; i < values.size(); ++i) NBL_TRY(assign_to(stmt.target.parts[i], values[i]));
  if (stmt.kind == StmtKind::with || stmt.kind == StmtKind::scope) {
    NBL_TRY(exec(stmt.body, out).status());
    pop_scope(mine, outer);
    return {};
  }
  std::string inner;
  NBL_TRY(exec(stmt.body, inner).status());
  pop_scope(mine, outer);
  NBL_ASSIGN(Value value, string(std::move(inner)));
  if (stmt.expr != nullptr) {
    NBL_ASSIGN(value, eval_filter(*stmt.expr, value));
  }
  if (stmt.kind != StmtKind::filter) return assign_to(stmt.target, value);
  // jinja2 joins what a filter block gives to the text around it as it is.
  if (!value.is_string()) {
    return Status(Code::corrupt, fmt::format("a filter block gives a value of type '{}', not a text", type_name(value)));
  }
  return print(value, out);
}

Result<Value> Evaluator::call_macro(const Stmt& macro, Scope* definition, const CallArguments& arguments) {
  const Depth depth(*this);
  NBL_TRY(depth.status());
  Scope* const outer = scope_;
  scope_ = push_scope(definition);
  Scope* const mine = scope_;
  const std::size_t count = macro.names.size();
  std::vector<bool> given(count, false);
  std::vector<Value> more;
  Dict more_named;
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i >= count) {
      more.push_back(arguments.positional[i]);
      continue;
    }
    assign(macro.names[i], arguments.positional[i]);
    given[i] = true;
  }
  if (!more.empty() && !macro.takes.more) {
    return Status(Code::corrupt, fmt::format("macro '{}' takes not more than {} arguments", macro.text, count));
  }
  Value caller = Value::undefined("no caller defined");
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(macro.names.begin(), macro.names.end(), name);
    if (found != macro.names.end()) {
      const auto i = static_cast<std::size_t>(found - macro.names.begin());
      if (given[i])
        return Status(Code::corrupt, fmt::format("macro '{}' got the argument '{}' twice", macro.text, name));
      given[i] = true;
      assign(macro.names[i], value);
    } else if (name == "caller" && macro.takes.caller) {
      caller = value;
    } else if (!macro.takes.more_named) {
      return Status(Code::corrupt, fmt::format("macro '{}' takes no keyword argument '{}'", macro.text, name));
    } else {
      more_named.set(Value(name), value);
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (given[i]) continue;
    const std::size_t first_default = count - macro.values.size();
    if (i < first_default) {
      assign(macro.names[i], Value::undefined(fmt::format("parameter '{}' was not provided", macro.names[i])));
    } else {
      NBL_ASSIGN(Value value, eval(*macro.values[i - first_default]));
      assign(macro.names[i], std::move(value));
    }
  }
  NBL_ASSIGN(Value varargs, list(std::move(more), ListKind::tuple));
  NBL_ASSIGN(Value kwargs, dict(std::move(more_named)));
  assign("varargs", std::move(varargs));
  assign("kwargs", std::move(kwargs));
  assign("caller", std::move(caller));
  std::string out;
  NBL_TRY(exec(macro.body, out).status());
  pop_scope(mine, outer);
  return string(std::move(out));
}

Result<Value> Evaluator::call(const Value& callee, CallArguments arguments) {
  NBL_TRY(spend(1));
  if (callee.is_undefined()) return Status(Code::corrupt, std::string(callee.why()));
  if (callee.is(Kind::object) && callee.object().callable()) {
    Object& object = callee.object();
    if (auto* builtin = dynamic_cast<BuiltinObject*>(&object)) {
      return run_builtin(*this, *builtin->builtin, builtin->self, arguments);
    }
    if (auto* macro = dynamic_cast<Macro*>(&object)) return call_macro(*macro->stmt, macro->definition, arguments);
    if (auto* function = dynamic_cast<LoopFunction*>(&object)) return call_loop_function(*this, *function, arguments);
    if (auto* loop = dynamic_cast<LoopObject*>(&object)) {
      if (arguments.positional.size() != 1) return Status(Code::corrupt, "loop() takes one iterable");
      std::string out;
      NBL_TRY(exec_loop(*loop->stmt, arguments.positional[0], loop->level + 1, out).status());
      return string(std::move(out));
    }
  }
  return Status(Code::corrupt, fmt::format("'{}' object is not callable", type_name(callee)));
}

Result<Value> Evaluator::attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) return Status(Code::corrupt, std::string(object.why()));
  if (object.is(Kind::object)) {
    if (auto* loop = dynamic_cast<LoopObject*>(&object.object());
        loop != nullptr && (name == "cycle" || name == "changed")) {
      auto function = std::make_shared<LoopFunction>();
      function->loop = std::static_pointer_cast<LoopObject>(object.object_pointer());
      function->cycle = name == "cycle";
      return Value(std::shared_ptr<Object>(std::move(function)));
    }
    Value found = object.object().attribute(name);
    if (!found.is_undefined() || name == "previtem" || name == "nextitem") return found;
    Value method = find_method(object, name);
    if (!method.is_undefined() || method.is_refused()) return method;
  } else {
    Value method = find_method(object, name);
    if (!method.is_undefined() || method.is_refused()) return method;
    if (name.starts_with("__")) {
      return Value::undefined(
          fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)));
    }
    if (object.is(Kind::dict)) {
      if (const Value* found = object.dict().find(std::string_view(name))) return *found;
    }
    if (object.is_number() && (name == "real" || name == "imag" || (object.is_integral() && (name == "numerator" || name == "denominator")))) {
      return name == "imag" ? binary("-", object, object) : name == "denominator" ? Value(int64_t{1}) : binary("plus", object, object);
    }
  }
  const std::string_view type = object.is(Kind::none) ? "None" : type_name(object);
  return Value::undefined(
      fmt::format("'{}{}' has no attribute '{}'", type, object.is(Kind::none) ? "" : " object", name));
}

Result<std::tm> Evaluator::now() const {
  if (now_) return *now_;
  const std::time_t seconds = std::time(nullptr);
  std::tm out{};
  if (localtime_r(&seconds, &out) == nullptr) return Status(Code::internal, "the time of day cannot be had");
  return out;
}

}  // namespace nbl::text::jinja
