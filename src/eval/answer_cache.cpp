#include "eval/answer_cache.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstring>

#include "base/foreign.h"

namespace nbl::eval {
namespace {

constexpr int kBusyMilliseconds = 10000;
constexpr int kVersion = 1;  ///< of the table

struct CloseDatabase {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
};
struct Finalize {
  void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

}  // namespace

struct AnswerCache::Impl {
  std::unique_ptr<sqlite3, CloseDatabase> db;
  Statement select, insert;
  std::string path;

  Status fail(int code) const {
    const bool broken = code == SQLITE_NOTADB || code == SQLITE_CORRUPT || code == SQLITE_SCHEMA || code == SQLITE_ERROR;
    const bool full = code == SQLITE_FULL;
    const char* const why = db ? sqlite3_errmsg(db.get()) : sqlite3_errstr(code);
    filled_elsewhere(why, std::strlen(why) + 1);
    return {broken ? Code::corrupt : full ? Code::limit : Code::io, fmt::format("{}: the cache of answers cannot be used: {}", path, why)};
  }
  Status run(const char* sql) const {
    const int code = sqlite3_exec(db.get(), sql, nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? Status() : fail(code);
  }
  Result<Statement> prepare(const char* sql) const {
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v2(db.get(), sql, -1, &raw, nullptr);
    if (code != SQLITE_OK) return fail(code);
    return Statement(raw);
  }
};

AnswerCache::AnswerCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AnswerCache::~AnswerCache() {
  const ForeignCalls calls;
  impl_.reset();
}

Result<std::unique_ptr<AnswerCache>> AnswerCache::open(const std::filesystem::path& path) {
  const ForeignCalls calls;
  auto impl = std::make_unique<Impl>();
  impl->path = path.string();
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(impl->path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  impl->db.reset(raw);
  if (code != SQLITE_OK) return impl->fail(code);
  sqlite3_busy_timeout(raw, kBusyMilliseconds);
  NBL_TRY(impl->run("PRAGMA journal_mode=WAL"));
  NBL_TRY(impl->run("PRAGMA synchronous=NORMAL"));
  NBL_ASSIGN(const Statement version, impl->prepare("PRAGMA user_version"));
  if (sqlite3_step(version.get()) == SQLITE_ROW) {
    const int found = sqlite3_column_int(version.get(), 0);
    if (found != 0 && found != kVersion) {
      return Status(Code::unsupported, fmt::format("{}: a cache of version {}, expected {}; name another file", impl->path, found, kVersion));
    }
  }
  sqlite3_reset(version.get());
  NBL_TRY(impl->run("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"));
  NBL_TRY(impl->run("PRAGMA user_version=1"));
  NBL_ASSIGN(impl->select, impl->prepare("SELECT answer FROM answers WHERE key = ?1"));
  NBL_ASSIGN(impl->insert, impl->prepare("INSERT OR REPLACE INTO answers (key, answer) VALUES (?1, ?2)"));
  return std::unique_ptr<AnswerCache>(new AnswerCache(std::move(impl)));
}

Result<std::optional<std::string>> AnswerCache::find(std::string_view key) {
  const ForeignCalls calls;
  sqlite3_stmt* s = impl_->select.get();
  sqlite3_reset(s);
  sqlite3_bind_text(s, 1, key.data(), static_cast<int>(key.size()), SQLITE_TRANSIENT);
  const int code = sqlite3_step(s);
  std::optional<std::string> answer;
  if (code == SQLITE_ROW) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(s, 0));
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(s, 0));
    filled_elsewhere(text, text == nullptr ? 0 : size);
    answer.emplace(text == nullptr ? "" : text, size);
  } else if (code != SQLITE_DONE) {
    return impl_->fail(code);
  }
  sqlite3_reset(s);
  return answer;
}

Status AnswerCache::store(std::span<const std::pair<std::string, std::string>> entries) {
  const ForeignCalls calls;
  NBL_TRY(impl_->run("BEGIN IMMEDIATE"));
  for (const auto& [key, answer] : entries) {
    sqlite3_stmt* s = impl_->insert.get();
    sqlite3_reset(s);
    sqlite3_bind_text(s, 1, key.data(), static_cast<int>(key.size()), SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 2, answer.data(), static_cast<int>(answer.size()), SQLITE_TRANSIENT);
    const int code = sqlite3_step(s);
    if (code != SQLITE_DONE) {
      const Status status = impl_->fail(code);
      sqlite3_reset(s);
      (void)impl_->run("ROLLBACK");
      return status;
    }
    sqlite3_reset(s);
  }
  return impl_->run("COMMIT");
}

}  // namespace nbl::eval
