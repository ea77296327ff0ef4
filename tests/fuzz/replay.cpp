// Runs a fuzz target without libFuzzer: every file given (or below a folder given), and a number of mutations of each on a
// fixed seed. A crash is the failure; what the input was is printed first when NIBBLE_FUZZ_VERBOSE is set.
//   replay_x [--mutations N] FILE|FOLDER...
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "fuzz/fuzz.h"

namespace {
namespace fs = std::filesystem;

std::string read(const std::string& path) {
  return nbl::read_text_file(path, int64_t{1} << 30).value();
}

void add_files(const std::string& path, std::vector<std::string>& files) {
  if (fs::is_regular_file(path)) files.push_back(path);
  if (!fs::is_directory(path)) return;
  for (const std::string& name : nbl::directory_names(path)) add_files(path + "/" + name, files);
}

std::string mutate(std::string bytes, const std::vector<std::string>& seeds, std::mt19937_64& random) {
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(random() % n); };
  static constexpr int64_t kTelling[] = {0, 1, -1, 127, 255, 256, 65535, 65536, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN,
                                         int64_t{1} << 32, int64_t{1} << 62};
  for (std::size_t step = 0, steps = 1 + below(4); step < steps; ++step) {
    const std::size_t at = below(bytes.size() + 1);
    switch (below(7)) {
      case 0:
        bytes.resize(at);
        break;
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<char>(random());
        break;
      case 2:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 3: {  // a number that counts, sizes and offsets stumble over
        const int64_t value = kTelling[below(std::size(kTelling))];
        const std::size_t width = std::size_t{1} << below(4);
        if (at + width <= bytes.size()) std::memcpy(bytes.data() + at, &value, width);
        break;
      }
      case 4:
        bytes.insert(at, bytes.substr(below(bytes.size() + 1), below(32)));
        break;
      case 5:
        bytes.erase(at, below(32));
        break;
      default: {
        const std::string& other = seeds[below(seeds.size())];
        bytes.insert(at, other.substr(below(other.size() + 1), below(64)));
      }
    }
  }
  return bytes;
}

void run(const std::string& bytes) {
  // A copy of exactly this size, so that the sanitizer sees the first byte read too far.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t mutations = 0;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--mutations") == 0 && i + 1 < argc) {
      mutations = std::strtoull(argv[++i], nullptr, 10);
    } else {
      add_files(argv[i], files);
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> seeds;
  for (const std::string& file : files) {
    if (fs::file_size(file) <= 200'000) seeds.push_back(read(file));
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "replay: no seeds\n");
    return 1;
  }
  const bool verbose = std::getenv("NIBBLE_FUZZ_VERBOSE") != nullptr;
  run({});
  for (const std::string& seed : seeds) run(seed);
  std::mt19937_64 random(20260101);
  for (uint64_t i = 0; i < mutations; ++i) {
    const std::string input = mutate(seeds[static_cast<std::size_t>(random() % seeds.size())], seeds, random);
    if (verbose) {
      std::ofstream("replay-input.bin", std::ios::binary) << input;
    }
    run(input);
  }
  std::printf("%zu seeds, %llu mutations\n", seeds.size(), static_cast<unsigned long long>(mutations));
  return 0;
}
