#include "eval/energy.h"

#include <algorithm>
#include <fstream>
#include <optional>

namespace nbl::eval {
namespace {

std::optional<int64_t> number_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  int64_t value = 0;
  if (!(in >> value) || value < 0) return std::nullopt;
  return value;
}

/// "intel-rapl:0", not "intel-rapl" nor "intel-rapl:0:1".
bool is_package(const std::string& name) {
  return name.find("rapl") != std::string::npos && std::count(name.begin(), name.end(), ':') == 1;
}

}  // namespace

EnergyMeter::EnergyMeter(const std::filesystem::path& folder) {
  std::error_code ec;
  for (auto it = std::filesystem::directory_iterator(folder, ec); !ec && it != std::filesystem::directory_iterator(); it.increment(ec)) {
    const std::string file = it->path().filename().string();
    const std::optional<int64_t> now = number_in(it->path() / "energy_uj");
    if (!is_package(file) || !now) continue;
    Zone zone;
    zone.folder = it->path();
    zone.begin = *now;
    zone.range = number_in(it->path() / "max_energy_range_uj").value_or(0);
    std::ifstream(it->path() / "name") >> zone.name;
    if (zone.name.empty()) zone.name = file;
    zones_.push_back(std::move(zone));
  }
  // The memory-mapped interface ("intel-rapl-mmio:0") counts the same packages again.
  const auto is_plain = [](const Zone& zone) { return zone.folder.filename().string().find("mmio") == std::string::npos; };
  if (std::any_of(zones_.begin(), zones_.end(), is_plain)) std::erase_if(zones_, [&](const Zone& zone) { return !is_plain(zone); });
  std::sort(zones_.begin(), zones_.end(), [](const Zone& a, const Zone& b) { return a.folder < b.folder; });
}

std::vector<std::string> EnergyMeter::names() const {
  std::vector<std::string> names;
  for (const Zone& zone : zones_) names.push_back(zone.name);
  return names;
}

void EnergyMeter::start() {
  for (Zone& zone : zones_) zone.begin = number_in(zone.folder / "energy_uj").value_or(zone.begin);
}

double EnergyMeter::joules() const {
  double sum = 0;
  for (const Zone& zone : zones_) {
    int64_t used = number_in(zone.folder / "energy_uj").value_or(zone.begin) - zone.begin;
    if (used < 0) used += zone.range;
    sum += static_cast<double>(std::max<int64_t>(0, used)) * 1e-6;
  }
  return sum;
}

}  // namespace nbl::eval
