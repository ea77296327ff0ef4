#include "bench_weights.h"

#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <sstream>

namespace nbl::bench {
namespace {

// Bytes of a linear congruential sequence, masked and completed so that floats among them are small and finite.
Result<Storage> random_bytes(int64_t bytes, uint64_t mask, uint64_t set, Team& team) {
  NBL_ASSIGN(Buffer buffer, Buffer::create(static_cast<std::size_t>(bytes)));
  const auto words = buffer.as<uint64_t>();
  team.run([&](Worker& worker) {
    const Range mine = worker.share(static_cast<int64_t>(words.size()), 512);
    uint64_t z = 0x9e3779b97f4a7c15ULL * static_cast<uint64_t>(mine.begin + 1);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      z = z * 6364136223846793005ULL + 1442695040888963407ULL;
      words[static_cast<std::size_t>(i)] = (((z >> 29) ^ z) & mask) | set;
    }
  });
  return Storage::own(std::move(buffer));
}

}  // namespace

Result<std::vector<Shape>> read_shapes(const std::string& path) {
  std::ifstream in(path);
  if (!in) return Status(Code::not_found, fmt::format("cannot read {}", path));
  std::vector<Shape> shapes;
  for (std::string line; std::getline(in, line);) {
    line = line.substr(0, line.find('#'));
    std::istringstream words(line);
    Shape s;
    if (!(words >> s.name)) continue;
    if (!(words >> s.n >> s.k) || s.n <= 0 || s.k <= 0)
      return Status(Code::corrupt, fmt::format("{}: '{}' is not a name, rows and columns", path, line));
    shapes.push_back(s);
  }
  return shapes;
}

const std::vector<Kind>& kinds() {
  using E = Encoding;
  using Z = ZeroKind;
  static const std::vector<Kind> list = {
      {"affine1_g128", E::affine, 1, 128, Z::minimum, DType::f32},
      {"affine2_g128", E::affine, 2, 128, Z::code, DType::f32},
      {"affine3_g128", E::affine, 3, 128, Z::code, DType::f32},
      {"affine4_g128", E::affine, 4, 128, Z::code, DType::f32},
      {"affine4_g128_sym", E::affine, 4, 128, Z::symmetric, DType::f32},
      {"affine4_g64", E::affine, 4, 64, Z::code, DType::f32},
      {"affine4_g32_min", E::affine, 4, 32, Z::minimum, DType::f32},
      {"affine5_g128", E::affine, 5, 128, Z::code, DType::f32},
      {"affine6_g128", E::affine, 6, 128, Z::code, DType::f32},
      {"affine7_g128", E::affine, 7, 128, Z::code, DType::f32},
      {"affine8_row", E::affine, 8, 0, Z::symmetric, DType::f32},
      {"affine8_g32", E::affine, 8, 32, Z::symmetric, DType::f32},
      {"trellis2_g64", E::trellis, 2, 64, Z::symmetric, DType::f32},
      {"trellis3_g64", E::trellis, 3, 64, Z::symmetric, DType::f32},
      {"trellis4_g64", E::trellis, 4, 64, Z::symmetric, DType::f32},
      {"codebook_g64", E::codebook, 4, 64, Z::symmetric, DType::f32},
      {"f32", E::dense, 0, 0, Z::symmetric, DType::f32},
      {"f16", E::dense, 0, 0, Z::symmetric, DType::f16},
      {"bf16", E::dense, 0, 0, Z::symmetric, DType::bf16},
      {"e4m3", E::dense, 0, 0, Z::symmetric, DType::e4m3},
  };
  return list;
}

Result<QTensor> random_weight(const Kind& kind, int64_t n, int64_t k, Team& team) {
  Segment s;
  s.k_count = k;
  s.encoding = kind.encoding;
  s.bits = kind.bits;
  s.group_size = kind.group_size;
  s.zero_kind = kind.zero_kind;
  s.value_type = kind.value_type;
  for (std::size_t i = 0; i < s.table.size(); ++i) s.table[i] = (static_cast<float>(i) - 7.5f) / 8.0f;
  // Binary16 and bfloat16 from 0x3000 on, binary32 likewise, are small positive numbers when the next bits are random.
  const uint64_t small_mask = 0x87ff87ff87ff87ffULL, small_set = 0x3000300030003000ULL;
  const bool codes = s.encoding != Encoding::dense;
  const bool bytes = s.value_type == DType::e4m3;
  NBL_ASSIGN(s.codes, random_bytes(s.code_bytes(n),
                                   codes   ? ~uint64_t{0}
                                   : bytes ? 0xb7b7b7b7b7b7b7b7ULL
                                           : small_mask,
                                   codes || bytes ? 0 : small_set, team));
  if (codes) {
    NBL_ASSIGN(s.scales, random_bytes(s.scale_bytes(n), 0x07ff07ff07ff07ffULL, small_set, team));
  }
  if (s.zero_bytes(n) > 0) {
    const bool code_zeros = s.zero_kind == ZeroKind::code;
    NBL_ASSIGN(s.zeros, random_bytes(s.zero_bytes(n), code_zeros ? ~uint64_t{0} : 0x07ff07ff07ff07ffULL,
                                     code_zeros ? 0 : small_set, team));
  }
  return make_qtensor(n, k, std::move(s));
}

}  // namespace nbl::bench
