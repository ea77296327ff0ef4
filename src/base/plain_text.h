// Texts that came from files or paths, made fit to be shown: names in them must not move a terminal's cursor, end a C string early,
// or be no text at all.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace nbl {

/// The length in bytes of the valid UTF-8 sequence at the start of `text`, which is not empty; 0 when there is none.
std::size_t utf8_sequence(std::string_view text) noexcept;

/// Writes `text` to `out`, of `capacity` > 0 bytes, and a NUL after it: valid UTF-8 as it is; control characters (C0, DEL, C1) and
/// bytes that are no UTF-8 as \xNN. What does not fit is cut between characters. Returns the bytes written before the NUL.
std::size_t write_plain_text(std::string_view text, char* out, std::size_t capacity) noexcept;

/// The same as a string, whole.
std::string plain_text(std::string_view text);

}  // namespace nbl
