// Energy that the processor's packages use, where the system tells it (RAPL through the Linux power capping interface).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace nbl::eval {

/// The counters of whole packages: intel-rapl:0, intel-rapl:1 (AMD's go by the same name); parts of a package, which it counts
/// already, are left out. Readable by root alone on most systems.
class EnergyMeter {
 public:
  /// `folder`: /sys/class/powercap.
  explicit EnergyMeter(const std::filesystem::path& folder);

  bool available() const noexcept { return !zones_.empty(); }
  std::vector<std::string> names() const;  ///< of the packages
  /// Starts the measurement anew.
  void start();
  /// Joules of all packages together since start(); a counter that began again at 0 is seen once.
  double joules() const;

 private:
  struct Zone {
    std::filesystem::path folder;
    std::string name;
    int64_t begin = 0, range = 0;  ///< microjoules; range: where the counter begins again
  };
  std::vector<Zone> zones_;
};

}  // namespace nbl::eval
