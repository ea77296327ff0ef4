// Answers of mathematics problems written in LaTeX: where they stand, and when two are the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nbl::eval {

/// The content of the last \\boxed{...} (or \\fbox{...}, or "\\boxed x").
std::optional<std::string> last_boxed(std::string_view solution);
/// Equal after the normalization of Hendrycks et al. (2021): spaces, units, degrees, fractions, roots, 0.5 and 1/2.
bool same_math_answer(std::string_view a, std::string_view b);

}  // namespace nbl::eval
