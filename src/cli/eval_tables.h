// What `nibble eval` and `nibble sweep` share: naming tasks, and results of tasks as tables, CSV and files.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"
#include "cli/json_text.h"

namespace nibble::cli {

/// Each of `tasks` is a JSON-lines file of one's own (or "builtin"), or names built-in tasks, which read their files in
/// `data`.
void add_tasks(Evaluation& evaluation, const std::vector<std::string>& tasks, const std::string& data);
/// --data, else what the environment variable NIBBLE_DATA says, else "data".
std::string data_folder(const std::string& given);

/// lm-evaluation-harness's table, which is Markdown. `section`: "results" or "groups" of `model`; `whole` has versions, n-shot
/// and directions.
std::string harness_table(const Doc::Element& whole, const Doc::Element& model, std::string_view section);
/// Differences of every two models.
std::string paired_table(const Doc::Element& whole, bool markdown);
/// model,task,version,num_fewshot,filter,metric,value,stderr,n
std::string results_csv(const Doc::Element& whole);
/// samples_TASK_TIME.jsonl and results_TIME.json in a folder a model below `folder`, as lm-evaluation-harness names them;
/// nothing is written over.
void write_samples(const std::string& folder, const Doc::Element& whole);
/// A page that needs nothing outside itself.
std::string eval_page(const Doc::Element& whole);

}  // namespace nibble::cli
