// The part of an evaluation that runs benchmark tasks.
#pragma once

#include "base/json.h"
#include "capi/handles.h"
#include "quant/method.h"

namespace nbl::capi {

/// The evaluation's settings, checked.
Result<quant::Options> settings_of(const nbl_evaluation& evaluation);
/// An error unless `count` models have been added.
Status need_models(const nbl_evaluation& evaluation, std::size_t count, const char* what);

/// Every model on every task, and each against the first: nbl_evaluation_tasks().
Status run_evaluation_tasks(nbl_evaluation* evaluation, Json* out);

}  // namespace nbl::capi
