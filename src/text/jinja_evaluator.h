// Runs a compiled template once.
#pragma once

#include <ctime>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"

namespace nbl::text::jinja {

/// The arguments of one call, evaluated.
struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Arguments by parameter, as a signature says: "width first blank". A parameter not given is null.
class Bound {
 public:
  /// Code::corrupt for a name that the signature lacks, one given twice, or too many.
  static Result<Bound> bind(std::string_view what, std::string_view signature, const CallArguments& arguments);
  const Value* operator[](std::size_t i) const { return i < values_.size() ? values_[i] : nullptr; }
  /// The parameter's value with a default; errors name the parameter.
  Result<int64_t> integer(std::size_t i, int64_t fallback) const;
  Result<std::string> string(std::size_t i, std::string_view fallback) const;
  bool flag(std::size_t i, bool fallback) const { return (*this)[i] == nullptr ? fallback : truth(*values_[i]); }

 private:
  std::string_view what_;
  std::vector<const Value*> values_;  // into the CallArguments, which must outlive this
};

/// Names that belong together: of the template, of one turn of a loop, of a macro's call.
struct Scope {
  Scope* parent = nullptr;
  bool captured = false;  // a macro was defined in it, or in one inside it
  std::vector<std::pair<std::string_view, Value>> names;
};

class Evaluator {
 public:
  Evaluator(const Program& program, const Json& variables, const std::optional<std::tm>& now);
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;
  Result<std::string> run();

  // --- budgets
  Status spend(int64_t steps);
  Status take(int64_t bytes);
  /// take(), and steps in proportion: for work that goes over so many bytes.
  Status move_bytes(std::size_t bytes);

  // --- what filters, tests and methods need
  Result<Value> call(const Value& callee, CallArguments arguments);
  Result<Value> apply_filter(std::string_view name, const Value& value, const CallArguments& arguments);
  Result<bool> apply_test(std::string_view name, const Value& value, const CallArguments& arguments);
  Result<Value> attribute(const Value& object, const std::string& name);
  Result<Value> item(const Value& object, const Value& key);
  /// attribute or item, as the filters that take an attribute's name look it up: "a.b.0".
  Result<Value> item_path(const Value& object, const Value& path);
  /// The elements: of a list, the keys of a dict, the characters of a string.
  Result<std::vector<Value>> elements(const Value& value);
  Result<bool> truthy(const Value& value) const;
  Result<Value> text_of(const Value& value);  ///< str()
  Result<Value> binary(std::string_view op, const Value& a, const Value& b);
  Result<bool> equals(const Value& a, const Value& b);
  Result<bool> contains(const Value& container, const Value& value);
  Result<Value> list(std::vector<Value> items, ListKind kind = ListKind::list);
  Result<Value> range(const RangeBounds& bounds);
  Result<Value> dict(Dict dict);
  Result<Value> string(std::string text);
  Result<Value> make_namespace(const CallArguments& arguments);
  Result<std::tm> now() const;
  const TemplateOptions& options() const { return program_.options; }

 private:
  enum class Flow : uint8_t { normal, stop, next };
  class Depth;
  friend struct Macro;

  // --- expressions
  Result<Value> eval(const Expr& expr);
  Result<Value> eval_kind(const Expr& expr);
  Result<Value> eval_compare(const Expr& expr);
  Result<Value> eval_slice(const Expr& expr);
  Result<Value> eval_dict(const Expr& expr);
  Result<Value> eval_filter(const Expr& expr, const Value& value);
  Result<CallArguments> eval_arguments(const Arguments& arguments);
  Value lookup(std::string_view name) const;

  // --- statements
  Result<Flow> exec(const Body& body, std::string& out);
  Result<Flow> exec_one(const Stmt& stmt, std::string& out);
  Result<Flow> exec_branch(const Stmt& stmt, std::string& out);
  Result<Flow> exec_loop(const Stmt& stmt, const Value& over, int level, std::string& out);
  Status exec_assign(const Stmt& stmt);
  Status exec_scoped(const Stmt& stmt, std::string& out);
  Status assign_to(const Target& target, const Value& value);
  Status assign_member(const Target& target, const Value& value);
  Status print(const Value& value, std::string& out);
  Result<Value> call_macro(const Stmt& macro, Scope* definition, const CallArguments& arguments);
  Status located(Status status, int line);

  Scope* push_scope(Scope* parent);
  void pop_scope(Scope* scope, Scope* back);
  void assign(std::string_view name, Value value);
  Value make_macro(const Stmt& stmt);

  const Program& program_;
  std::optional<std::tm> now_;
  Value variables_;
  std::deque<Scope> scopes_;  // a stack, but for those that macros hold on to
  Scope* scope_ = nullptr;
  std::vector<std::shared_ptr<Object>> namespaces_;  // may hold each other: emptied at the end
  int64_t steps_ = 0, memory_ = 0, max_memory_ = 0;
  int depth_ = 0;
  bool located_ = false;  // the error on its way has its line

  friend struct LoopObject;
};

/// Objects whose call needs no scope: name and signature as Bound takes it, "*" for any.
struct Builtin {
  std::string_view name, signature;
  Result<Value> (*run)(Evaluator& evaluator, const Value& self, const Bound& bound, const CallArguments& arguments);
};

/// A function of the language (range, namespace, ...); null when there is none of that name.
Value find_global(std::string_view name);
/// The method of a string, list or dict bound to it; undefined without a reason when there is none.
Value find_method(const Value& self, const std::string& name);
/// A builtin as a value.
Value bind_builtin(const Builtin& builtin, Value self);
Result<Value> run_builtin(Evaluator& evaluator, const Builtin& builtin, const Value& self,
                          const CallArguments& arguments);

struct Namespace final : Object {
  Dict members;
  std::string_view type() const override { return "Namespace"; }
  Value attribute(std::string_view name) const override {
    const Value* found = members.find(name);
    return found == nullptr ? Value() : *found;
  }
};

struct BuiltinObject final : Object {
  const Builtin* builtin = nullptr;
  Value self;
  std::string_view type() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
};

/// printf-style formatting (the % of strings) and str.format().
Result<std::string> format_percent(Evaluator& evaluator, const std::string& format, const Value& arguments);
Result<std::string> format_braces(Evaluator& evaluator, const std::string& format, const CallArguments& arguments);

}  // namespace nbl::text::jinja
