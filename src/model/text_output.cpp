#include "model/text_output.h"

#include <algorithm>

namespace nbl::model {

TextOutput::TextOutput(const text::Tokenizer* tokenizer, std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
  if (tokenizer != nullptr) decoder_.emplace(*tokenizer);
}

Result<std::string> TextOutput::push(text::TokenId id) {
  if (!decoder_ || stopped_) return std::string();
  NBL_ASSIGN(std::string piece, decoder_->push(id));
  return release(std::move(piece), false);
}

Result<std::string> TextOutput::finish() {
  if (!decoder_ || stopped_) return std::string();
  NBL_ASSIGN(std::string piece, decoder_->finish());
  return release(std::move(piece), true);
}

std::string TextOutput::release(std::string piece, bool last) {
  held_ += piece;
  // The first stop string in the text, the longest where several begin there.
  std::size_t at = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t found = held_.find(stop);
    if (found < at || (found == at && found != std::string::npos && stop.size() > stop_.size())) {
      at = found;
      stop_ = stop;
    }
  }
  std::size_t certain = held_.size();
  if (at != std::string::npos) {
    stopped_ = true;
    certain = at;
  } else if (!last) {
    for (const std::string& stop : stops_) {
      const std::size_t longest = std::min(stop.size() - 1, held_.size());
      for (std::size_t n = longest; n > 0; --n) {
        if (held_.compare(held_.size() - n, n, stop, 0, n) != 0) continue;
        certain = std::min(certain, held_.size() - n);
        break;
      }
    }
    // Never half a character: a stop string may begin inside one only if it is no UTF-8 itself.
    while (certain > 0 && certain < held_.size() && (static_cast<unsigned char>(held_[certain]) & 0xC0) == 0x80) --certain;
  }
  std::string out = held_.substr(0, certain);
  held_.erase(0, stopped_ ? held_.size() : certain);
  text_ += out;
  return out;
}

}  // namespace nbl::model
