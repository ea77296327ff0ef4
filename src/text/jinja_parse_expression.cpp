// The grammar of expressions, from the loosest binding to the tightest.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "text/jinja_filters.h"
#include "text/jinja_parser.h"

namespace nbl::text::jinja {

/// Counts the brackets and prefix operators that the parser itself recurses over.
class Nesting {
 public:
  explicit Nesting(Parser& parser) : parser_(parser) { ++parser_.depth_; }
  ~Nesting() { --parser_.depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  Status status() const {
    const int most = parser_.options_.limits.max_depth;
    if (parser_.depth_ <= most) return {};
    return template_error(Code::limit, parser_.peek().line,
                          fmt::format("blocks and expressions are nested deeper than {}", most));
  }

 private:
  Parser& parser_;
};

ExprPtr Parser::make(ExprKind kind, int line) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

Status Parser::check_depth(Expr& expr) const {
  const auto include = [&](const ExprPtr& e) {
    if (e != nullptr) expr.depth = std::max(expr.depth, 1 + e->depth);
  };
  for (const ExprPtr& item : expr.items) include(item);
  for (const ExprPtr& item : expr.arguments.positional) include(item);
  for (const auto& [name, item] : expr.arguments.named) include(item);
  include(expr.arguments.more_positional);
  include(expr.arguments.more_named);
  // A chain of operators is a deep tree, too.
  const int most = options_.limits.max_depth * 4;
  if (expr.depth <= most) return {};
  return template_error(Code::limit, expr.line, fmt::format("an expression is nested deeper than {}", most));
}

Result<ExprPtr> Parser::node(ExprKind kind, int line, std::vector<ExprPtr> items, std::string text) {
  ExprPtr expr = make(kind, line);
  expr->items = std::move(items);
  expr->text = std::move(text);
  NBL_TRY(check_depth(*expr));
  return expr;
}

namespace {

template <class... E>
std::vector<ExprPtr> pack(E... each) {
  std::vector<ExprPtr> out;
  (out.push_back(std::move(each)), ...);
  return out;
}

}  // namespace

Result<ExprPtr> Parser::tuple(bool with_condition) {
  const int line = peek().line;
  NBL_ASSIGN(ExprPtr first, expression(with_condition));
  if (!is_symbol(",")) return first;
  std::vector<ExprPtr> items = pack(std::move(first));
  while (skip_symbol(",")) {
    const TokenKind kind = peek().kind;
    if (kind == TokenKind::block_end || kind == TokenKind::variable_end || is_symbol(")") || is_symbol("]")) break;
    NBL_ASSIGN(ExprPtr next, expression(with_condition));
    items.push_back(std::move(next));
  }
  return node(ExprKind::tuple, line, std::move(items));
}

Result<ExprPtr> Parser::expression(bool with_condition) {
  const Nesting nesting(*this);
  NBL_TRY(nesting.status());
  NBL_ASSIGN(ExprPtr value, logical_or());
  while (with_condition && is_name("if")) {
    const int line = peek().line;
    ++at_;
    NBL_ASSIGN(ExprPtr condition, logical_or());
    ExprPtr otherwise;
    if (skip_name("else")) {
      NBL_ASSIGN(otherwise, expression());
    }
    NBL_ASSIGN(value,
               node(ExprKind::conditional, line, pack(std::move(condition), std::move(value), std::move(otherwise))));
  }
  return value;
}

Result<ExprPtr> Parser::logical_or() {
  NBL_ASSIGN(ExprPtr left, logical_and());
  while (is_name("or")) {
    const int line = tokens_[at_++].line;
    NBL_ASSIGN(ExprPtr right, logical_and());
    NBL_ASSIGN(left, node(ExprKind::logical_or, line, pack(std::move(left), std::move(right))));
  }
  return left;
}

Result<ExprPtr> Parser::logical_and() {
  NBL_ASSIGN(ExprPtr left, logical_not());
  while (is_name("and")) {
    const int line = tokens_[at_++].line;
    NBL_ASSIGN(ExprPtr right, logical_not());
    NBL_ASSIGN(left, node(ExprKind::logical_and, line, pack(std::move(left), std::move(right))));
  }
  return left;
}

Result<ExprPtr> Parser::logical_not() {
  if (!is_name("not")) return comparison();
  const Nesting nesting(*this);
  NBL_TRY(nesting.status());
  const int line = tokens_[at_++].line;
  NBL_ASSIGN(ExprPtr operand, logical_not());
  return node(ExprKind::logical_not, line, pack(std::move(operand)));
}

Result<ExprPtr> Parser::comparison() {
  const int line = peek().line;
  NBL_ASSIGN(ExprPtr left, sum());
  ExprPtr chain;
  for (;;) {
    std::string op;
    for (const std::string_view symbol : {"==", "!=", "<", "<=", ">", ">="}) {
      if (is_symbol(symbol)) op = symbol;
    }
    if (is_name("in")) op = "in";
    if (is_name("not") && is_name("in", 1)) {
      op = "not in";
      ++at_;
    }
    if (op.empty()) break;
    ++at_;
    if (chain == nullptr) {
      chain = make(ExprKind::compare, line);
      chain->items.push_back(std::move(left));
    }
    NBL_ASSIGN(ExprPtr right, sum());
    chain->items.push_back(std::move(right));
    chain->operators.push_back(std::move(op));
  }
  if (chain == nullptr) return left;
  NBL_TRY(check_depth(*chain));
  return chain;
}

Result<ExprPtr> Parser::sum() {
  NBL_ASSIGN(ExprPtr left, concat());
  while (is_symbol("+") || is_symbol("-")) {
    const Token op = tokens_[at_++];
    NBL_ASSIGN(ExprPtr right, concat());
    NBL_ASSIGN(left, node(ExprKind::binary, op.line, pack(std::move(left), std::move(right)), op.text));
  }
  return left;
}

Result<ExprPtr> Parser::concat() {
  const int line = peek().line;
  NBL_ASSIGN(ExprPtr first, product());
  if (!is_symbol("~")) return first;
  std::vector<ExprPtr> items = pack(std::move(first));
  while (skip_symbol("~")) {
    NBL_ASSIGN(ExprPtr next, product());
    items.push_back(std::move(next));
  }
  return node(ExprKind::concat, line, std::move(items));
}

Result<ExprPtr> Parser::product() {
  NBL_ASSIGN(ExprPtr left, power());
  while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
    const Token op = tokens_[at_++];
    NBL_ASSIGN(ExprPtr right, power());
    NBL_ASSIGN(left, node(ExprKind::binary, op.line, pack(std::move(left), std::move(right)), op.text));
  }
  return left;
}

Result<ExprPtr> Parser::power() {
  NBL_ASSIGN(ExprPtr left, unary());
  while (is_symbol("**")) {
    const int line = tokens_[at_++].line;
    NBL_ASSIGN(ExprPtr right, unary());
    NBL_ASSIGN(left, node(ExprKind::binary, line, pack(std::move(left), std::move(right)), "**"));
  }
  return left;
}

Result<ExprPtr> Parser::unary(bool with_filter) {
  ExprPtr value;
  if (is_symbol("-") || is_symbol("+")) {
    const Nesting nesting(*this);
    NBL_TRY(nesting.status());
    const Token op = tokens_[at_++];
    NBL_ASSIGN(ExprPtr operand, unary(false));
    NBL_ASSIGN(value, node(op.text == "-" ? ExprKind::negate : ExprKind::plus, op.line, pack(std::move(operand))));
  } else {
    NBL_ASSIGN(value, primary());
  }
  NBL_ASSIGN(value, postfix(std::move(value)));
  if (with_filter) return filters(std::move(value));
  return value;
}

Result<ExprPtr> Parser::primary() {
  const Token& t = peek();
  ExprPtr out = make(ExprKind::constant, t.line);
  switch (t.kind) {
    case TokenKind::name:
      if (t.text == "true" || t.text == "True") {
        out->value = Value(true);
      } else if (t.text == "false" || t.text == "False") {
        out->value = Value(false);
      } else if (t.text == "none" || t.text == "None") {
        out->value = Value::none();
      } else {
        out->kind = ExprKind::name;
        out->text = t.text;
        takes_.more |= t.text == "varargs";
        takes_.more_named |= t.text == "kwargs";
        takes_.caller |= t.text == "caller";
      }
      ++at_;
      return out;
    case TokenKind::string: {
      std::string text;
      while (peek().kind == TokenKind::string) text += tokens_[at_++].text;
      out->value = Value(std::move(text));
      return out;
    }
    case TokenKind::integer: {
      int64_t value = 0;
      const auto end = t.text.data() + t.text.size();
      if (std::from_chars(t.text.data(), end, value).ec != std::errc())
        return error("an integer has more than 64 bits");
      out->value = Value(value);
      ++at_;
      return out;
    }
    case TokenKind::real: {
      double value = 0;
      const auto found = std::from_chars(t.text.data(), t.text.data() + t.text.size(), value);
      if (found.ec != std::errc()) return error("a number is out of range");
      out->value = Value(value);
      ++at_;
      return out;
    }
    case TokenKind::symbol:
      if (t.text == "(") {
        ++at_;
        if (skip_symbol(")")) return node(ExprKind::tuple, out->line, {});
        NBL_ASSIGN(out, tuple());
        NBL_TRY(expect_symbol(")"));
        return out;
      }
      if (t.text == "[") {
        ++at_;
        return sequence(ExprKind::list, "]");
      }
      if (t.text == "{") {
        ++at_;
        return sequence(ExprKind::dict, "}");
      }
      break;
    default:
      break;
  }
  return unexpected("a value");
}

Result<ExprPtr> Parser::sequence(ExprKind kind, std::string_view close) {
  const int line = peek().line;
  std::vector<ExprPtr> items;
  while (!skip_symbol(close)) {
    if (!items.empty()) {
      NBL_TRY(expect_symbol(","));
      if (skip_symbol(close)) break;
    }
    NBL_ASSIGN(ExprPtr item, expression());
    items.push_back(std::move(item));
    if (kind != ExprKind::dict) continue;
    NBL_TRY(expect_symbol(":"));
    NBL_ASSIGN(ExprPtr value, expression());
    items.push_back(std::move(value));
  }
  return node(kind, line, std::move(items));
}

Result<ExprPtr> Parser::postfix(ExprPtr value) {
  for (;;) {
    const int line = peek().line;
    if (skip_symbol(".")) {
      if (peek().kind == TokenKind::integer) {
        NBL_ASSIGN(ExprPtr index, primary());
        NBL_ASSIGN(value, node(ExprKind::subscript, line, pack(std::move(value), std::move(index))));
      } else {
        NBL_ASSIGN(std::string name, expect_name());
        NBL_ASSIGN(value, node(ExprKind::attribute, line, pack(std::move(value)), std::move(name)));
      }
    } else if (skip_symbol("[")) {
      NBL_ASSIGN(value, subscript(std::move(value)));
    } else if (is_symbol("(")) {
      NBL_ASSIGN(value, node(ExprKind::call, line, pack(std::move(value))));
      NBL_TRY(arguments(value->arguments));
      NBL_TRY(check_depth(*value));
    } else {
      return value;
    }
  }
}

Result<ExprPtr> Parser::subscript(ExprPtr value) {
  const int line = peek().line;
  ExprPtr parts[3];
  std::size_t part = 0;
  bool slice = false;
  while (!is_symbol("]")) {
    if (skip_symbol(":")) {
      slice = true;
      if (++part > 2) return unexpected("']'");
    } else if (!slice && part == 0) {
      NBL_ASSIGN(parts[0], tuple());
      if (!is_symbol(":") && !is_symbol("]")) return unexpected("']'");
    } else {
      NBL_ASSIGN(parts[part], expression());
      if (!is_symbol(":") && !is_symbol("]")) return unexpected("']'");
    }
  }
  ++at_;
  if (slice) {
    return node(ExprKind::slice, line,
                pack(std::move(value), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])));
  }
  if (parts[0] == nullptr) return error("a subscript is empty");
  return node(ExprKind::subscript, line, pack(std::move(value), std::move(parts[0])));
}

Status Parser::arguments(Arguments& out) {
  NBL_TRY(expect_symbol("("));
  bool first = true;
  while (!skip_symbol(")")) {
    if (!std::exchange(first, false)) {
      NBL_TRY(expect_symbol(","));
      if (skip_symbol(")")) break;
    }
    if (skip_symbol("*")) {
      if (out.more_positional != nullptr || out.more_named != nullptr) return error("only one *argument is allowed");
      NBL_ASSIGN(out.more_positional, expression());
    } else if (skip_symbol("**")) {
      if (out.more_named != nullptr) return error("only one **argument is allowed");
      NBL_ASSIGN(out.more_named, expression());
    } else if (peek().kind == TokenKind::name && is_symbol("=", 1)) {
      std::string name = tokens_[at_].text;
      at_ += 2;
      NBL_ASSIGN(ExprPtr value, expression());
      out.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!out.named.empty() || out.more_named != nullptr) return error("a positional argument follows a named one");
      NBL_ASSIGN(ExprPtr value, expression());
      out.positional.push_back(std::move(value));
    }
  }
  return {};
}

Result<ExprPtr> Parser::filters(ExprPtr value) {
  for (;;) {
    if (skip_symbol("|")) {
      NBL_ASSIGN(value, filter(std::move(value)));
    } else if (value != nullptr && is_name("is")) {
      NBL_ASSIGN(value, test(std::move(value)));
    } else if (value != nullptr && is_symbol("(")) {
      NBL_ASSIGN(value, node(ExprKind::call, peek().line, pack(std::move(value))));
      NBL_TRY(arguments(value->arguments));
      NBL_TRY(check_depth(*value));
    } else {
      return value;
    }
  }
}

Result<ExprPtr> Parser::filter(ExprPtr value) {
  const int line = peek().line;
  NBL_ASSIGN(std::string name, expect_name());
  while (skip_symbol(".")) {
    NBL_ASSIGN(const std::string more, expect_name());
    name += "." + more;
  }
  const Filter* found = find_filter(name);
  if (found == nullptr && !options_.filters.contains(name)) {
    return template_error(Code::unsupported, line, no_filter(name));
  }
  NBL_ASSIGN(ExprPtr out, node(ExprKind::filter, line, pack(std::move(value)), std::move(name)));
  out->filter = options_.filters.contains(out->text) ? nullptr : found;
  if (is_symbol("(")) NBL_TRY(arguments(out->arguments));
  NBL_TRY(check_depth(*out));
  return out;
}

Result<ExprPtr> Parser::test(ExprPtr value) {
  const int line = tokens_[at_++].line;
  const bool negated = skip_name("not");
  NBL_ASSIGN(std::string name, expect_name());
  const Test* found = find_test(name);
  if (found == nullptr) return template_error(Code::unsupported, line, fmt::format("there is no test '{}'", name));
  NBL_ASSIGN(ExprPtr out, node(ExprKind::test, line, pack(std::move(value)), std::move(name)));
  out->test = found;
  if (is_symbol("(")) {
    NBL_TRY(arguments(out->arguments));
  } else {
    const Token& t = peek();
    const bool operand = t.kind == TokenKind::name || t.kind == TokenKind::string || t.kind == TokenKind::integer ||
                         t.kind == TokenKind::real || is_symbol("[") || is_symbol("{");
    if (operand && !is_name("else") && !is_name("or") && !is_name("and")) {
      if (is_name("is")) return error("tests cannot be chained with 'is'");
      NBL_ASSIGN(ExprPtr argument, primary());
      NBL_ASSIGN(argument, postfix(std::move(argument)));
      out->arguments.positional.push_back(std::move(argument));
    }
  }
  NBL_TRY(check_depth(*out));
  if (!negated) return out;
  return node(ExprKind::logical_not, line, pack(std::move(out)));
}

}  // namespace nbl::text::jinja
