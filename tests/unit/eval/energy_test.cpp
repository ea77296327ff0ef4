#include "eval/energy.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace nbl::eval {
namespace {

namespace fs = std::filesystem;

class Energy : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "nibble-energy-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root = pattern;
  }
  void TearDown() override { fs::remove_all(root); }

  void zone(const std::string& folder, const std::string& name, int64_t energy, int64_t range = 1000000) {
    fs::create_directories(root / folder);
    std::ofstream(root / folder / "name") << name << "\n";
    std::ofstream(root / folder / "energy_uj") << energy << "\n";
    std::ofstream(root / folder / "max_energy_range_uj") << range << "\n";
  }

  fs::path root;
};

TEST_F(Energy, CountsWholePackagesOnce) {
  zone("intel-rapl:0", "package-0", 1000);
  zone("intel-rapl:0:0", "core", 500);
  zone("intel-rapl:1", "package-1", 2000);
  zone("intel-rapl-mmio:0", "package-0", 1000);
  fs::create_directories(root / "intel-rapl");
  EnergyMeter meter(root);
  ASSERT_TRUE(meter.available());
  EXPECT_EQ(meter.names(), (std::vector<std::string>{"package-0", "package-1"}));
  meter.start();
  EXPECT_EQ(meter.joules(), 0.0);
  zone("intel-rapl:0", "package-0", 301000);
  zone("intel-rapl:1", "package-1", 52000);
  EXPECT_NEAR(meter.joules(), 0.35, 1e-12);
}

TEST_F(Energy, ACounterThatBeginsAgainIsSeen) {
  zone("intel-rapl:0", "package-0", 999000);
  EnergyMeter meter(root);
  meter.start();
  zone("intel-rapl:0", "package-0", 9000);
  EXPECT_NEAR(meter.joules(), 0.01, 1e-12);
}

TEST_F(Energy, IsMissingWhereNobodyTells) {
  EXPECT_FALSE(EnergyMeter(root / "nowhere").available());
  fs::create_directories(root / "intel-rapl:0");
  EXPECT_FALSE(EnergyMeter(root).available());  // a counter that only root may read
}

}  // namespace
}  // namespace nbl::eval
