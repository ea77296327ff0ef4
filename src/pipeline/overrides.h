// Which recipe a tensor gets: the job's own, or that of the first override whose regular expression matches its name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "quant/method.h"

namespace nbl::pipeline {

class Overrides {
 public:
  static Result<Overrides> create(const std::vector<std::pair<std::string, std::string>>& rules,
                                  const quant::Recipe& standard);
  Overrides(Overrides&&) noexcept;
  Overrides& operator=(Overrides&&) noexcept;
  ~Overrides();

  /// The recipe for a tensor of this whole name; null: keep it as it is.
  Result<const quant::Recipe*> find(std::string_view tensor_name) const;
  /// Rules that no tensor matched so far: probably misspelt.
  std::vector<std::string> unused() const;

 private:
  struct Impl;
  explicit Overrides(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl::pipeline
