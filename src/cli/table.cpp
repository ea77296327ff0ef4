#include "cli/table.h"

#include <algorithm>

namespace nibble::cli {
namespace {

/// Characters, not bytes: "±" takes one column.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

bool numeric(const std::string& cell) {
  return cell.empty() || cell == "-" || cell.find_first_not_of("0123456789.+-e ±%x") == std::string::npos;
}

}  // namespace

std::string Table::text(bool markdown) const {
  const std::size_t columns = header_.size();
  std::vector<std::size_t> widths(columns);
  std::vector<bool> right(columns, true);
  for (std::size_t c = 0; c < columns; ++c) {
    widths[c] = width(header_[c]);
    for (const auto& row : rows_) {
      widths[c] = std::max(widths[c], width(row[c]));
      if (!numeric(row[c])) right[c] = false;
    }
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& row) {
    if (markdown) out += "| ";
    for (std::size_t c = 0; c < columns; ++c) {
      const std::string padding(widths[c] - width(row[c]), ' ');
      out += right[c] ? padding + row[c] : row[c] + padding;
      if (markdown) {
        out += c + 1 < columns ? " | " : " |";
      } else if (c + 1 < columns) {
        out += "  ";
      }
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    out += '\n';
  };
  line(header_);
  if (markdown) {
    out += "|";
    for (std::size_t c = 0; c < columns; ++c) out += std::string(widths[c] + 1, '-') + (right[c] ? ":|" : "-|");
    out += '\n';
  } else {
    for (std::size_t c = 0; c < columns; ++c) out += std::string(widths[c], '-') + (c + 1 < columns ? "  " : "\n");
  }
  for (const auto& row : rows_) line(row);
  return out;
}

}  // namespace nibble::cli
