// Weights side by side in a few large buffers, which lie on large pages: a processor streams through them faster than
// through many small allocations.
#pragma once

#include <cstddef>
#include <memory>

#include "base/buffer.h"
#include "base/status.h"
#include "tensor/qtensor.h"

namespace nbl::model {

class WeightArena {
 public:
  /// Moves the tensor's small arrays that own their memory into the arena. Arrays that lie in a mapped file stay there:
  /// they are run in place. The arena's memory lives as long as the last tensor that was put into it.
  Status adopt(QTensor* tensor);

 private:
  Status adopt(Storage* storage);
  std::shared_ptr<Buffer> chunk_;
  std::size_t used_ = 0;
};

}  // namespace nbl::model
