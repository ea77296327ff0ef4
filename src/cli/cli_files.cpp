#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/cli.h"

namespace nibble::cli {
namespace fs = std::filesystem;
namespace {

constexpr const char* kBuiltinModel = "prose-3.7m";

/// Where the things that come with the project lie: NIBBLE_SHARE, beside an installed binary, or in the source tree
/// that holds the build.
fs::path find_shipped(const fs::path& below) {
  if (const char* share = std::getenv("NIBBLE_SHARE"); share != nullptr && *share != '\0')
    return fs::path(share) / below;
  std::error_code ec;
  const fs::path self = fs::read_symlink("/proc/self/exe", ec);
  if (ec) return {};
  for (fs::path dir = self.parent_path(); dir.has_relative_path(); dir = dir.parent_path()) {
    for (const char* place : {"share/nibble", "examples"}) {
      if (fs::exists(dir / place / below, ec)) return dir / place / below;
    }
  }
  return {};
}

/// Deletes `.NAME.PROCESS.tmp` beside NAME where that process was killed while it wrote them. A writer in another container, whose
/// number says nothing here, holds a lock on its file.
void remove_left_temporaries(const fs::path& path) {
  const std::string prefix = "." + path.filename().string() + ".", suffix = ".tmp";
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(path.has_parent_path() ? path.parent_path() : fs::path("."), ec)) {
    const std::string name = entry.path().filename().string();
    if (name.size() <= prefix.size() + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    int process = 0;
    const char* end = name.data() + name.size() - suffix.size();
    const auto number = std::from_chars(name.data() + prefix.size(), end, process);
    if (number.ec != std::errc() || number.ptr != end || process <= 0 || ::kill(process, 0) == 0 || errno != ESRCH) continue;
    const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (file < 0) continue;
    if (::flock(file, LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
    ::close(file);
  }
}

}  // namespace

std::string read_file(const std::string& path) {
  std::error_code ec;
  if (fs::is_directory(path, ec)) throw Failure(kBadInput, fmt::format("'{}' is a directory, not a file", path));
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) throw Failure(kBadInput, fmt::format("cannot open '{}': {}", path, std::strerror(errno)));
  std::string bytes;
  char piece[1 << 16];
  // A regular file ends; a pipe or a device need not.
  const auto most = fs::is_regular_file(path, ec) ? INT64_MAX : nbl_limit_get("document_bytes");
  for (std::size_t got; (got = std::fread(piece, 1, sizeof piece, file.get())) > 0;) {
    bytes.append(piece, got);
    if (static_cast<int64_t>(bytes.size()) > most)
      throw Failure(kLimit, fmt::format("'{}' is no regular file and did not end within {} bytes", path, most));
  }
  if (std::ferror(file.get()) != 0)
    throw Failure(kBadInput, fmt::format("cannot read '{}': {}", path, std::strerror(errno)));
  return bytes;
}

std::string check_is_number(const std::string& text) {
  return std::isnan(std::strtod(text.c_str(), nullptr)) ? fmt::format("{} is not a number", text) : std::string();
}

void use_file(const std::string& path, const std::function<void(const std::string&)>& use) {
  const std::string text = read_file(path);
  try {
    use(text);
  } catch (const Error& e) {
    if (e.status() != NBL_E_INVALID_ARGUMENT && e.status() != NBL_E_CORRUPT && e.status() != NBL_E_UNSUPPORTED && e.status() != NBL_E_LIMIT)
      throw;  // no fault of the file's
    const int code = exit_code(e.status());
    throw Failure(code == kUsage ? kBadInput : code, fmt::format("'{}': {}", path, e.what()));
  }
}

void write_file(const std::string& path, std::string_view bytes) {
  // Devices and pipes (/dev/stdout, a process substitution) are written as they are.
  std::error_code ec;
  const bool replaced = !fs::exists(path, ec) || fs::is_regular_file(path, ec);
  const fs::path target(path);
  const std::string temporary = replaced ? (target.parent_path() / fmt::format(".{}.{}.tmp", target.filename().string(), getpid())).string() : path;
  const auto fail = [&](const char* what) {
    const int error = errno;
    if (replaced) std::remove(temporary.c_str());
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    throw Failure(full ? kLimit : kBadInput, fmt::format("cannot {} '{}': {}", what, path, std::strerror(error)));
  };
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  if (file == nullptr) fail("create");
  if (replaced) {
    (void)::flock(::fileno(file), LOCK_EX | LOCK_NB);
    remove_left_temporaries(target);
  }
  // Synced before it gets its name: after a power failure that holds all of it, or what it held before.
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size() && std::fflush(file) == 0 &&
                       (!replaced || ::fsync(::fileno(file)) == 0 || errno == EINVAL);
  if (!written) {
    const int error = errno;
    std::fclose(file);
    errno = error;
    fail("write");
  }
  if (std::fclose(file) != 0) fail("write");
  if (!replaced) return;
  if (std::rename(temporary.c_str(), path.c_str()) != 0) fail("rename to");
  const fs::path folder = fs::path(path).parent_path();
  const int directory = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  (void)::fsync(directory);
  ::close(directory);
}

std::string output_format(const std::string& format, const std::string& output) {
  if (!format.empty()) return format;
  std::string ending = std::filesystem::path(output).extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending == ".gguf" ? "gguf" : "native";
}

std::string resolve_model(const std::string& model) {
  if (model != "builtin") return model;
  const fs::path found = find_shipped(fs::path("models") / kBuiltinModel);
  if (found.empty()) {
    throw Failure(
        kBadInput,
        "the built-in model is not installed beside this program; set NIBBLE_SHARE to the folder that holds models/");
  }
  return found.string();
}

std::string resolve_data(const std::string& file, const std::string& name) {
  if (file != "builtin") return file;
  const fs::path found = find_shipped(fs::path("data") / name);
  if (found.empty()) {
    throw Failure(
        kBadInput,
        fmt::format(
            "the built-in {} is not installed beside this program; set NIBBLE_SHARE to the folder that holds data/",
            name));
  }
  return found.string();
}

std::pair<std::string, float> parse_adapter(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  float scale = 1;
  if (colon != std::string::npos) {
    const char* begin = text.data() + colon + 1;
    const auto [end, error] = std::from_chars(begin, text.data() + text.size(), scale);
    if (error == std::errc() && end == text.data() + text.size()) return {text.substr(0, colon), scale};
  }
  return {text, 1.0f};
}

std::pair<std::string, std::string> split_pair(const std::string& text, const char* option) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw Failure(kUsage, fmt::format("{} \"{}\": name=value was expected", option, text));
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

int64_t parse_size(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  double factor = 0;
  if (unit.empty() || unit == "B") factor = 1;
  if (unit == "K" || unit == "k" || unit == "KiB") factor = 1024.0;
  if (unit == "M" || unit == "m" || unit == "MiB") factor = 1024.0 * 1024;
  if (unit == "G" || unit == "g" || unit == "GiB") factor = 1024.0 * 1024 * 1024;
  if (unit == "T" || unit == "t" || unit == "TiB") factor = 1024.0 * 1024 * 1024 * 1024;
  if (unit == "KB" || unit == "kB") factor = 1e3;
  if (unit == "MB") factor = 1e6;
  if (unit == "GB") factor = 1e9;
  if (error != std::errc() || factor == 0 || !(number > 0) || number * factor > 9e18) {
    throw Failure(kUsage, fmt::format("\"{}\" is no size; write 512M, 4G or a number of bytes", text));
  }
  return static_cast<int64_t>(number * factor);
}

}  // namespace nibble::cli
