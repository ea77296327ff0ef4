// Tokens to statements and expressions.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace nbl::text::jinja {

class Parser {
 public:
  Parser(std::vector<Token> tokens, const TemplateOptions& options) : tokens_(std::move(tokens)), options_(options) {}
  Result<Body> run();

 private:
  // --- statements (jinja_parser.cpp)
  /// Statements up to a block tag that begins with one of the names, which is left to be read. Empty: to the end.
  Result<Body> body(std::initializer_list<std::string_view> until);
  Status statement(Body& out);
  /// body() and the end tag behind it.
  Result<Body> body_and_end(std::string_view end_name);
  Result<std::unique_ptr<Stmt>> loop();
  Result<std::unique_ptr<Stmt>> branch();
  Result<std::unique_ptr<Stmt>> assignment();
  Result<std::unique_ptr<Stmt>> with();
  Result<std::unique_ptr<Stmt>> macro();
  Result<std::unique_ptr<Stmt>> call_block();
  Result<std::unique_ptr<Stmt>> filter_block();
  /// As jinja2 reads what is assigned to: a comma may end it only before a bracket or the tag's end. `members`: of namespaces, too.
  Result<Target> target(bool members = false, int depth = 0);
  /// A macro's body and what it speaks of.
  Status macro_body(Stmt& stmt, std::string_view end_name);
  Status signature(Stmt& stmt);
  std::unique_ptr<Stmt> make(StmtKind kind) const;

  // --- expressions (jinja_expressions.cpp)
  /// An expression, or several with commas between as a tuple.
  Result<ExprPtr> tuple(bool with_condition = true);
  Result<ExprPtr> expression(bool with_condition = true);
  Result<ExprPtr> logical_or();
  Result<ExprPtr> logical_and();
  Result<ExprPtr> logical_not();
  Result<ExprPtr> comparison();
  Result<ExprPtr> sum();
  Result<ExprPtr> concat();
  Result<ExprPtr> product();
  Result<ExprPtr> power();
  Result<ExprPtr> unary(bool with_filter = true);
  Result<ExprPtr> primary();
  Result<ExprPtr> postfix(ExprPtr node);
  Result<ExprPtr> filters(ExprPtr node);
  Result<ExprPtr> filter(ExprPtr node);
  Result<ExprPtr> test(ExprPtr node);
  Result<ExprPtr> subscript(ExprPtr node);
  Result<ExprPtr> sequence(ExprKind kind, std::string_view close);
  Status arguments(Arguments& out);
  ExprPtr make(ExprKind kind, int line) const;
  /// Moves the operands in; an error when the tree becomes too deep.
  Result<ExprPtr> node(ExprKind kind, int line, std::vector<ExprPtr> items, std::string text = {});
  Status check_depth(Expr& expr) const;

  // --- tokens
  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool is_symbol(std::string_view s, std::size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::symbol && peek(ahead).text == s;
  }
  bool is_name(std::string_view s, std::size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::name && peek(ahead).text == s;
  }
  bool skip_symbol(std::string_view s);
  bool skip_name(std::string_view s);
  Status expect_symbol(std::string_view s);
  Status expect(TokenKind kind, std::string_view what);
  Result<std::string> expect_name();
  Status error(std::string_view what) const { return template_error(Code::corrupt, peek().line, what); }
  Status unexpected(std::string_view expected) const;

  std::vector<Token> tokens_;
  const TemplateOptions& options_;
  std::size_t at_ = 0;
  int depth_ = 0;  // of nested blocks and brackets
  int loops_ = 0;
  MacroTakes takes_;  // spoken of since the innermost macro's beginning

  friend class Nesting;
};

}  // namespace nbl::text::jinja
