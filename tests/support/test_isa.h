// The instruction set that a test program's models run on: the best one, or what NBL_FORCE_ISA names.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "base/cpu.h"

namespace nbl::test {

/// Ends the program with 77 (skipped, for ctest) when this processor cannot run the one named.
inline Isa test_isa() {
  static const Isa chosen = [] {
    const char* name = std::getenv("NBL_FORCE_ISA");
    if (name == nullptr) return best_isa();
    const auto isa = isa_from_name(name);
    if (!isa.ok() || !isa_usable(*isa)) {
      std::printf("this processor cannot run %s: not tested\n", name);
      std::exit(77);
    }
    return *isa;
  }();
  return chosen;
}

}  // namespace nbl::test
