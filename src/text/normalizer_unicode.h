// The normalizers that go by character properties.
#pragma once

#include <string_view>

#include "text/normalizer.h"

namespace nbl::text {

/// NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, BertNormalizer, Nmt; a null pointer for any other type.
Result<std::unique_ptr<Normalizer>> parse_unicode_normalizer(std::string_view type, const Json& json);

}  // namespace nbl::text
