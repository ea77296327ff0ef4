#include "kernels/panel/panel.h"

namespace nbl::kernels {

#define NBL_PANEL(name, isa)                 \
  namespace name {                           \
  void feedback(const FeedbackArgs& args);   \
  void feedback64(const Feedback64Args& args); \
  void grid_error(const GridErrorArgs& args); \
  void trellis(const TrellisArgs& args);      \
  }
#include "kernels/panel/variants.inc"
#undef NBL_PANEL

namespace {

constexpr PanelKernels kVariants[] = {
#define NBL_PANEL(name, isa) {#name, isa, name::feedback, name::feedback64, name::grid_error, name::trellis},
#include "kernels/panel/variants.inc"
#undef NBL_PANEL
};
constexpr int kCount = static_cast<int>(sizeof(kVariants) / sizeof(kVariants[0]));
constexpr int kFirstArm = 16;  // Isa::neon_dotprod

}  // namespace

const PanelKernels* panel_variants(int* count) {
  *count = kCount;
  return kVariants;
}

const PanelKernels& select_panel(int isa) {
  // Levels ascend. avxvnni, between avx2 and avx512, implies avx2 alone: the order holds for it too.
  for (const PanelKernels& variant : kVariants) {
    if (variant.isa <= isa && (variant.isa == 0 || isa < kFirstArm)) return variant;
  }
  return kVariants[kCount - 1];
}

}  // namespace nbl::kernels
