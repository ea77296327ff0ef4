// What tokenizer_config.json adds to a vocabulary: which tokens begin and end a text, and whether they are put there.
#pragma once

#include "base/json.h"
#include "text/pipeline_tokenizer.h"

namespace nbl::text {

/// Sets bos and eos, adds tokens that only the configuration lists, and rebuilds what is put around a text where the
/// class named there does so. `config` may be null. The model and the added tokens of `parts` must be there.
Status apply_tokenizer_config(const Json& config, PipelineParts& parts);

}  // namespace nbl::text
