#include "unit/text/gguf_metadata.h"

#include <cstring>
#include <stdexcept>

#include "base/file.h"

namespace nbl::text::testing {
namespace {

struct Reader {
  std::span<const std::byte> bytes;

  template <class T>
  T number() {
    if (bytes.size() < sizeof(T)) throw std::runtime_error("short");
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    bytes = bytes.subspan(sizeof(T));
    return value;
  }
  std::string string() {
    const auto n = number<uint64_t>();
    if (n > bytes.size()) throw std::runtime_error("short");
    std::string out(reinterpret_cast<const char*>(bytes.data()), n);
    bytes = bytes.subspan(n);
    return out;
  }
  Json value(uint32_t type) {
    switch (type) {
      case 0:
        return Json(int64_t{number<uint8_t>()});
      case 1:
        return Json(int64_t{number<int8_t>()});
      case 2:
        return Json(int64_t{number<uint16_t>()});
      case 3:
        return Json(int64_t{number<int16_t>()});
      case 4:
        return Json(int64_t{number<uint32_t>()});
      case 5:
        return Json(int64_t{number<int32_t>()});
      case 6:
        return Json(static_cast<double>(number<float>()));
      case 7:
        return Json(number<uint8_t>() != 0);
      case 8:
        return Json(string());
      case 9: {
        const auto element = number<uint32_t>();
        const auto n = number<uint64_t>();
        Json list = Json::array();
        for (uint64_t i = 0; i < n; ++i) list.push_back(value(element));
        return list;
      }
      case 10:
        return Json(static_cast<int64_t>(number<uint64_t>()));
      case 11:
        return Json(number<int64_t>());
      case 12:
        return Json(number<double>());
      default:
        throw std::runtime_error("type");
    }
  }
};

}  // namespace

Json gguf_metadata(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  if (!file.ok()) return {};
  try {
    Reader in{(*file)->bytes()};
    if (in.number<uint32_t>() != 0x46554747) return {};
    in.number<uint32_t>();
    in.number<uint64_t>();
    const auto count = in.number<uint64_t>();
    Json out = Json::object();
    for (uint64_t i = 0; i < count; ++i) {
      const std::string key = in.string();
      out.set(key, in.value(in.number<uint32_t>()));
    }
    return out;
  } catch (const std::runtime_error&) {
    return {};
  }
}

}  // namespace nbl::text::testing
