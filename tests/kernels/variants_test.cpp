// What was not tested here, by name: the variants that this processor cannot run.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "kernels/gram/gram.h"
#include "kernels/limits/limits.h"
#include "kernels/matmul_bf16/matmul_bf16.h"
#include "kernels/panel/panel.h"
#include "kernels/prepare_input/prepare_input.h"
#include "kernels/qmatmul_exact/qmatmul_exact.h"
#include "kernels/qmatmul_int8/qmatmul_int8.h"
#include "kernels/rounding/rounding.h"

namespace nbl::testing {
namespace {

struct Listed {
  std::string name;
  Isa isa;
};

template <class Variant>
void add(std::vector<Listed>& all, const Variant* variants, int count) {
  for (int v = 0; v < count; ++v) all.push_back({variants[v].name, static_cast<Isa>(variants[v].isa)});
}

std::vector<Listed> listed() {
  std::vector<Listed> all;
  int count = 0;
  const auto* int8 = kernels::qmatmul_int8_variants(&count);
  add(all, int8, count);
  const auto* exact = kernels::qmatmul_exact_variants(&count);
  add(all, exact, count);
  const auto* prepare = kernels::prepare_input_variants(&count);
  add(all, prepare, count);
  const auto* bf16 = kernels::matmul_bf16_variants(&count);
  add(all, bf16, count);
  const auto* limits = kernels::limit_variants(&count);
  add(all, limits, count);
  const auto* gram = kernels::gram_variants(&count);
  add(all, gram, count);
  const auto* gram_bf16 = kernels::gram_bf16_variants(&count);
  add(all, gram_bf16, count);
  const auto* panel = kernels::panel_variants(&count);
  add(all, panel, count);
  const auto* rounding = kernels::rounding_variants(&count);
  add(all, rounding, count);
  return all;
}

TEST(Variants, ThoseThatThisProcessorCannotRunAreNamed) {
  std::map<std::string, std::string> missing;  // by instruction set
  int usable = 0;
  for (const Listed& v : listed()) {
    if (isa_usable(v.isa)) {
      ++usable;
      continue;
    }
    std::string& names = missing[isa_name(v.isa)];
    names += (names.empty() ? "" : ", ") + v.name;
  }
  EXPECT_GE(usable, 8) << "every family has a variant that runs everywhere";
  for (const auto& [isa, names] : missing) {
    RecordProperty("not_run_" + isa, names);
    std::printf("not run here, for want of %s: %s\n", isa.c_str(), names.c_str());
  }
  std::printf("%d variants run here\n", usable);
}

TEST(Variants, EveryInstructionSetHasItsOwnProductOfQuantizedWeights) {
  // The families that carry a model: a variant each for whatever this processor can run, so that nothing falls back unseen.
  int count = 0;
  for (const Isa isa : usable_isas()) {
    if (isa == Isa::scalar) continue;
    EXPECT_EQ(std::string(kernels::select_qmatmul_exact(isa).name).find("scalar"), std::string::npos) << isa_name(isa);
    EXPECT_EQ(std::string(kernels::select_qmatmul_int8(isa).name).find("scalar"), std::string::npos) << isa_name(isa);
    EXPECT_EQ(std::string(kernels::select_prepare_input(isa).name).find("scalar"), std::string::npos) << isa_name(isa);
  }
  ASSERT_NE(kernels::qmatmul_int8_variants(&count), nullptr);
}

}  // namespace
}  // namespace nbl::testing
