#include "cli/eval_tables.h"

namespace nibble::cli {

std::string eval_page(const Doc::Element& whole) { return results_csv(whole); }

}  // namespace nibble::cli
