// A compiled template: statements and expressions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja.h"
#include "text/jinja_value.h"

namespace nbl::text::jinja {

struct Expr;
struct Stmt;
struct Filter;
struct Test;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<std::unique_ptr<Stmt>>;

enum class ExprKind : uint8_t {
  constant,     // value
  name,         // text
  list,         // items
  tuple,        // items
  dict,         // items: key, value, key, value, ...
  attribute,    // items[0] . text
  subscript,    // items[0] [ items[1] ]
  slice,        // items: object, start, stop, step; absent ones null
  call,         // items[0] ( arguments )
  filter,       // items[0] | text ( arguments ); items[0] null: the text of a filter block
  test,         // items[0] is text ( arguments )
  negate,       // - items[0]
  plus,         // + items[0]
  logical_not,  // not items[0]
  logical_and,  // items[0] and items[1]
  logical_or,   // items[0] or items[1]
  binary,       // items[0] text items[1]
  concat,       // items joined by ~
  compare,      // items[0] operators[0] items[1] operators[1] ...
  conditional,  // items: condition, then, else (may be null)
};

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr more_positional, more_named;  // *args, **kwargs
};

struct Expr {
  ExprKind kind = ExprKind::constant;
  int line = 0;
  int depth = 1;  // of the tree below
  std::string text;
  Value value;
  std::vector<ExprPtr> items;
  std::vector<std::string> operators;
  Arguments arguments;
  const Filter* filter = nullptr;  // null: one of TemplateOptions::filters
  const Test* test = nullptr;
};

enum class StmtKind : uint8_t {
  text,         // text
  output,       // expr
  branch,       // branches, otherwise
  loop,         // for target in expr if condition: body, else otherwise
  assign,       // set target = expr
  assign_body,  // set target (filtered by expr): body
  with,         // target's parts = values: body
  macro,        // text, names = values (defaults: of the last ones), body, takes
  call,         // call(names = values) expr: body
  filter,       // expr over body
  scope,        // block and generation: body in a scope of its own
  expression,   // do expr
  break_loop,
  continue_loop,
};

/// What a value is assigned to: a name, a member of the namespace of that name, or parts that it is unpacked into.
struct Target {
  std::string name;
  std::vector<Target> parts;    // of a namespace's member: its name
  bool unpack = false;          // into the parts, maybe one
  bool of_namespace = false;
};

/// What a macro's body speaks of, and its calls may therefore give: anything else is an error.
struct MacroTakes {
  bool more = false, more_named = false, caller = false;  // varargs, kwargs, caller
};

struct Stmt {  // small: a long template is many
  StmtKind kind = StmtKind::text;
  MacroTakes takes;
  int line = 0;
  std::string text;
  std::vector<std::string> names;
  Target target;
  ExprPtr expr, condition;
  std::vector<ExprPtr> values;
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body body, otherwise;
  bool recursive = false;  // a loop that may call itself
};

struct Program {
  std::string origin;
  TemplateOptions options;
  Body body;
};

}  // namespace nbl::text::jinja
