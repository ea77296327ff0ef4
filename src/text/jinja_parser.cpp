#include "text/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>

namespace nbl::text::jinja {

std::unique_ptr<Stmt> Parser::make(StmtKind kind) const {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = peek().line;
  return stmt;
}

bool Parser::skip_symbol(std::string_view s) {
  if (!is_symbol(s)) return false;
  ++at_;
  return true;
}

bool Parser::skip_name(std::string_view s) {
  if (!is_name(s)) return false;
  ++at_;
  return true;
}

Status Parser::unexpected(std::string_view expected) const {
  const Token& t = peek();
  std::string found;
  switch (t.kind) {
    case TokenKind::end:
      found = "the end of the template";
      break;
    case TokenKind::block_end:
    case TokenKind::variable_end:
      found = "the end of the tag";
      break;
    case TokenKind::data:
      found = "text";
      break;
    default:
      found = fmt::format("'{}'", t.text.substr(0, 60));
  }
  return error(fmt::format("found {}, expected {}", found, expected));
}

Status Parser::expect_symbol(std::string_view s) {
  return skip_symbol(s) ? Status() : unexpected(fmt::format("'{}'", s));
}

Status Parser::expect(TokenKind kind, std::string_view what) {
  if (peek().kind != kind) return unexpected(what);
  ++at_;
  return {};
}

Result<std::string> Parser::expect_name() {
  if (peek().kind != TokenKind::name) return unexpected("a name");
  return tokens_[at_++].text;
}

Result<Body> Parser::run() {
  NBL_ASSIGN(Body out, body({}));
  return out;
}

Result<Body> Parser::body(std::initializer_list<std::string_view> until) {
  if (++depth_ > options_.limits.max_depth) {
    return template_error(Code::limit, peek().line,
                          fmt::format("blocks and expressions are nested deeper than {}", options_.limits.max_depth));
  }
  Body out;
  for (;;) {
    const Token& t = peek();
    if (t.kind == TokenKind::end) {
      if (until.size() == 0) break;
      return error(fmt::format("the template ends inside a block that {{% {} %}} would close", *(until.end() - 1)));
    }
    if (t.kind == TokenKind::data) {
      auto stmt = make(StmtKind::text);
      stmt->text = std::move(tokens_[at_++].text);
      out.push_back(std::move(stmt));
    } else if (t.kind == TokenKind::variable_begin) {
      ++at_;
      auto stmt = make(StmtKind::output);
      NBL_ASSIGN(stmt->expr, tuple());
      NBL_TRY(expect(TokenKind::variable_end, "the end of the expression"));
      out.push_back(std::move(stmt));
    } else {
      ++at_;  // block_begin
      if (peek().kind == TokenKind::name && std::find(until.begin(), until.end(), peek().text) != until.end()) break;
      NBL_TRY(statement(out));
    }
  }
  --depth_;
  return out;
}

Result<Body> Parser::body_and_end(std::string_view end_name) {
  NBL_TRY(expect(TokenKind::block_end, "the end of the tag"));
  NBL_ASSIGN(Body out, body({end_name}));
  ++at_;
  return out;
}

Status Parser::statement(Body& out) {
  const int line = peek().line;
  NBL_ASSIGN(const std::string tag, expect_name());
  std::unique_ptr<Stmt> stmt;
  if (tag == "for") {
    NBL_ASSIGN(stmt, loop());
  } else if (tag == "if") {
    NBL_ASSIGN(stmt, branch());
  } else if (tag == "set") {
    NBL_ASSIGN(stmt, assignment());
  } else if (tag == "with") {
    NBL_ASSIGN(stmt, with());
  } else if (tag == "macro") {
    NBL_ASSIGN(stmt, macro());
  } else if (tag == "call") {
    NBL_ASSIGN(stmt, call_block());
  } else if (tag == "filter") {
    NBL_ASSIGN(stmt, filter_block());
  } else if (tag == "print") {
    stmt = make(StmtKind::output);
    NBL_ASSIGN(stmt->expr, tuple());
  } else if (tag == "do") {
    stmt = make(StmtKind::expression);
    NBL_ASSIGN(stmt->expr, tuple());
  } else if (tag == "break" || tag == "continue") {
    if (loops_ == 0) return template_error(Code::corrupt, line, fmt::format("{} outside of a loop", tag));
    stmt = make(tag == "break" ? StmtKind::break_loop : StmtKind::continue_loop);
  } else if (tag == "generation" || tag == "block" || tag == "autoescape") {
    stmt = make(StmtKind::scope);
    if (tag == "block") {
      NBL_ASSIGN(stmt->text, expect_name());
    }
    if (tag == "block" && !skip_name("scoped")) skip_name("required");
    if (tag == "autoescape") NBL_TRY(expression().status());
    NBL_ASSIGN(stmt->body, body_and_end("end" + tag));
    if (tag == "block" && peek().kind == TokenKind::name) ++at_;
  } else if (tag == "include" || tag == "import" || tag == "from" || tag == "extends") {
    return template_error(Code::unsupported, line,
                          fmt::format("'{}' is not supported: a template here stands alone", tag));
  } else {
    return template_error(Code::corrupt, line, fmt::format("unknown or misplaced tag '{}'", tag));
  }
  stmt->line = line;
  out.push_back(std::move(stmt));
  return expect(TokenKind::block_end, "the end of the tag");
}

Result<Target> Parser::target(bool members, int depth) {
  if (depth > options_.limits.max_depth) return error(fmt::format("brackets are nested deeper than {}", options_.limits.max_depth));
  const auto ended = [&] {
    return is_symbol(")") || peek().kind == TokenKind::block_end || peek().kind == TokenKind::variable_end;
  };
  Target out;
  for (;;) {
    Target part;
    if (skip_symbol("(")) {
      if (is_symbol(")")) {
        part.unpack = true;
      } else {
        NBL_ASSIGN(part, target(false, depth + 1));
      }
      NBL_TRY(expect_symbol(")"));
    } else {
      NBL_ASSIGN(part.name, expect_name());
      const std::string& name = part.name;
      if (name == "true" || name == "false" || name == "none" || name == "True" || name == "False" || name == "None")
        return error(fmt::format("cannot assign to '{}'", name));
      if (members && skip_symbol(".")) {
        part.of_namespace = true;
        NBL_ASSIGN(std::string member, expect_name());
        part.parts.emplace_back().name = std::move(member);
      }
    }
    out.parts.push_back(std::move(part));
    if (!skip_symbol(",")) break;
    out.unpack = true;
    if (ended()) break;
  }
  if (out.unpack) return out;
  Target only = std::move(out.parts.front());
  return only;
}

namespace {

bool names(const Target& target, std::string_view name) {
  return target.name == name || std::any_of(target.parts.begin(), target.parts.end(), [&](const Target& t) { return names(t, name); });
}

}  // namespace

Result<std::unique_ptr<Stmt>> Parser::loop() {
  auto stmt = make(StmtKind::loop);
  NBL_ASSIGN(stmt->target, target());
  if (names(stmt->target, "loop")) return error("cannot assign to 'loop' in a loop's target");
  if (!skip_name("in")) return unexpected("'in'");
  NBL_ASSIGN(stmt->expr, tuple(false));
  if (skip_name("if")) {
    NBL_ASSIGN(stmt->condition, expression());
  }
  stmt->recursive = skip_name("recursive");
  NBL_TRY(expect(TokenKind::block_end, "the end of the tag"));
  ++loops_;
  NBL_ASSIGN(stmt->body, body({"else", "endfor"}));
  --loops_;
  if (skip_name("else")) {
    NBL_TRY(expect(TokenKind::block_end, "the end of the tag"));
    NBL_ASSIGN(stmt->otherwise, body({"endfor"}));
  }
  ++at_;
  return stmt;
}

Result<std::unique_ptr<Stmt>> Parser::branch() {
  auto stmt = make(StmtKind::branch);
  for (;;) {
    NBL_ASSIGN(ExprPtr condition, tuple(false));
    NBL_TRY(expect(TokenKind::block_end, "the end of the tag"));
    NBL_ASSIGN(Body then, body({"elif", "else", "endif"}));
    stmt->branches.emplace_back(std::move(condition), std::move(then));
    if (skip_name("elif")) continue;
    if (skip_name("else")) {
      NBL_TRY(expect(TokenKind::block_end, "the end of the tag"));
      NBL_ASSIGN(stmt->otherwise, body({"endif"}));
    }
    ++at_;
    return stmt;
  }
}

Result<std::unique_ptr<Stmt>> Parser::assignment() {
  auto stmt = make(StmtKind::assign);
  NBL_ASSIGN(stmt->target, target(true));
  if (skip_symbol("=")) {
    NBL_ASSIGN(stmt->expr, tuple());
    return stmt;
  }
  stmt->kind = StmtKind::assign_body;
  if (stmt->target.unpack) return unexpected("'='");
  if (is_symbol("|")) {
    NBL_ASSIGN(stmt->expr, filters(nullptr));
  }
  NBL_ASSIGN(stmt->body, body_and_end("endset"));
  return stmt;
}

Result<std::unique_ptr<Stmt>> Parser::with() {
  auto stmt = make(StmtKind::with);
  while (peek().kind != TokenKind::block_end) {
    if (!stmt->target.parts.empty()) NBL_TRY(expect_symbol(","));
    NBL_ASSIGN(Target each, target());
    stmt->target.parts.push_back(std::move(each));
    NBL_TRY(expect_symbol("="));
    NBL_ASSIGN(ExprPtr value, expression());
    stmt->values.push_back(std::move(value));
  }
  NBL_ASSIGN(stmt->body, body_and_end("endwith"));
  return stmt;
}

Status Parser::signature(Stmt& stmt) {
  NBL_TRY(expect_symbol("("));
  while (!is_symbol(")")) {
    if (!stmt.names.empty()) NBL_TRY(expect_symbol(","));
    NBL_ASSIGN(std::string name, expect_name());
    if (std::find(stmt.names.begin(), stmt.names.end(), name) != stmt.names.end())
      return error(fmt::format("the parameter {} stands there twice", name.substr(0, 64)));
    stmt.names.push_back(std::move(name));
    if (skip_symbol("=")) {
      NBL_ASSIGN(ExprPtr value, expression());
      stmt.values.push_back(std::move(value));
    } else if (!stmt.values.empty()) {
      return error("a parameter without a default follows one with a default");
    }
  }
  ++at_;
  return {};
}

Result<std::unique_ptr<Stmt>> Parser::macro() {
  auto stmt = make(StmtKind::macro);
  NBL_ASSIGN(stmt->text, expect_name());
  NBL_TRY(signature(*stmt));
  NBL_TRY(macro_body(*stmt, "endmacro"));
  return stmt;
}

Status Parser::macro_body(Stmt& stmt, std::string_view end_name) {
  const int loops = std::exchange(loops_, 0);
  const MacroTakes outside = std::exchange(takes_, {});
  NBL_ASSIGN(stmt.body, body_and_end(end_name));
  stmt.takes = takes_;
  loops_ = loops;
  // What a macro inside speaks of, the one around it takes as well.
  takes_ = {takes_.more || outside.more, takes_.more_named || outside.more_named, takes_.caller || outside.caller};
  return {};
}

Result<std::unique_ptr<Stmt>> Parser::call_block() {
  auto stmt = make(StmtKind::call);
  stmt->text = "caller";
  if (is_symbol("(")) NBL_TRY(signature(*stmt));
  NBL_ASSIGN(stmt->expr, expression());
  if (stmt->expr->kind != ExprKind::call) return error("a call block needs a call");
  NBL_TRY(macro_body(*stmt, "endcall"));
  return stmt;
}

Result<std::unique_ptr<Stmt>> Parser::filter_block() {
  auto stmt = make(StmtKind::filter);
  NBL_ASSIGN(ExprPtr first, filter(nullptr));
  NBL_ASSIGN(stmt->expr, filters(std::move(first)));
  NBL_ASSIGN(stmt->body, body_and_end("endfilter"));
  return stmt;
}

}  // namespace nbl::text::jinja
