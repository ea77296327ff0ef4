#include "cli/table.h"

#include <fmt/format.h>

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

std::string plain(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F, the other control characters, are C2 80 to C2 9F.
    const bool wide = byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (byte < 0x20 || byte == 0x7f || wide) {
      out += fmt::format("\\x{:02x}", byte);
      if (wide) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
    } else {
      out += text[i];
    }
  }
  return out;
}

void Table::add(std::vector<std::string> row) {
  for (std::string& cell : row) cell = plain(cell);
  rows_.push_back(std::move(row));
}

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
