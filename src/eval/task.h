// A benchmark task: data that says where its documents come from, what the model is asked about each, and how the answers
// are judged. Built-in tasks are one file each in tasks/ and one line in tasks.inc; a user's own are JSON.
//
// Names, prompts, requests and metrics of built-in tasks are those of lm-evaluation-harness's task of the same id and
// version, unless the summary says otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "eval/fields.h"
#include "eval/metrics.h"
#include "text/sentencepiece_pieces.h"

namespace nbl::eval {

enum class Output : uint8_t {
  multiple_choice,   ///< log-likelihood of each choice
  loglikelihood,     ///< of one target
  rolling,           ///< of the whole text
  generate,          ///< text until a stop string
};

/// The harness's name: "multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until".
const char* output_name(Output output);

struct Generation {
  std::vector<std::string> until;  ///< stop strings; the end-of-sequence token always stops
  int64_t max_tokens = 256;
  int64_t beams = 1;               ///< 1: no beam search
  float temperature = 0;           ///< 0: greedy
  float top_p = 1;
};

/// What the model answered to one document.
struct Answer {
  std::vector<double> loglikelihoods;  ///< a choice or target each
  std::vector<bool> greedy;
  std::vector<int64_t> lengths;        ///< tokens of each continuation
  bool truncated = false;              ///< a context was cut on the left to fit the model
  std::string text;                    ///< generated, after the filter; the first of `texts`
  std::vector<std::string> texts;      ///< one a repeat
  /// Context and continuation of each request as tokens, when samples shall tell them.
  std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>> token_ids;
};

/// A sentencepiece model that cuts texts for a metric.
struct LoadedPieces {
  std::string metric;
  std::shared_ptr<const text::SentencepiecePieces> pieces;
};

/// Turns an answer into metric values. `pieces`: those of the task that are there.
class MetricSink {
 public:
  explicit MetricSink(std::vector<std::pair<std::string, MetricValue>>& out, std::span<const LoadedPieces> pieces = {})
      : out_(out), pieces_(pieces) {}
  void add(std::string_view metric, double value) { out_.emplace_back(metric, MetricValue{{value}, {}, {}}); }
  void add(std::string_view metric, std::vector<double> values) { out_.emplace_back(metric, MetricValue{std::move(values), {}, {}}); }
  void add(std::string_view metric, std::vector<std::string> references, std::string prediction) {
    out_.emplace_back(metric, MetricValue{{}, std::move(references), std::move(prediction)});
  }
  /// For each sentencepiece model that is there: both texts, their pieces apart.
  Status add_pieces(std::string_view reference, std::string_view prediction);

 private:
  std::vector<std::pair<std::string, MetricValue>>& out_;
  std::span<const LoadedPieces> pieces_;
};

/// A way to read the answer out of generated text; each gives its own result ("exact_match,strict-match").
struct Filter {
  std::string name = "none";
  std::function<std::string(const std::string&)> apply = {};  ///< empty: as it is
  std::function<std::string(Fields&, const std::string&)> with_document = {};  ///< the same, for those that look at the question
  std::function<void(std::vector<std::string>&)> chain = {};  ///< the same, for those that choose among an answer's repeats
};

struct Metric {
  std::string name;
  const Aggregation* aggregation = nullptr;
  bool higher_is_better = true;
};

/// Reads the records of one file of the task's data, in the schema that its publisher gave them.
using RecordReader = Result<std::vector<Json>> (*)(std::string_view bytes, std::string_view origin);

struct DataFile {
  std::string path;            ///< relative to the data folder
  RecordReader read = nullptr; ///< null: read_jsonl
};

struct PieceFile {
  std::string metric, path;  ///< the path relative to the data folder
};

struct Task {
  std::string id, alias, version = "1.0", summary;
  std::vector<std::string> tags;
  Output output = Output::multiple_choice;

  std::vector<DataFile> data;     ///< alternatives: the first that exists is read; or, with data_is_all, parts: all that do
  bool data_is_all = false;
  /// Sentencepiece models beside the data, each for one of the metrics, which is computed where the file is.
  std::vector<PieceFile> pieces;
  bool data_is_aligned = false;   ///< line i of each file belongs to document i: {"0": line, "1": line, ...}
  std::shared_ptr<const std::vector<Json>> given;  ///< the records themselves, instead of files
  std::vector<DataFile> fewshot;  ///< the same for examples; none: only zero-shot, unless from_test
  bool fewshot_from_test = false; ///< examples come from the test documents themselves
  std::shared_ptr<const std::vector<Json>> fewshot_given;  ///< the records of examples, instead of files
  /// One example more is drawn, and the document being asked is left out. The harness does so where its definition's split of
  /// examples is that of the tests, or neither is named (only a validation split); else a document may be its own example.
  bool fewshot_excludes = false;
  bool fewshot_first = false;     ///< the first n, else drawn at random
  bool zero_shot = false;         ///< no examples, whatever the caller asks for
  /// Where examples are not written as questions are: its text, choices, gold, target and delimiters are used for them.
  std::shared_ptr<const Task> example;

  /// Makes the document that the functions below read from a record; may drop it by returning null.
  std::function<Json(Fields&)> process;
  std::function<std::string(Fields&)> text;                   ///< the question
  std::function<std::vector<std::string>(Fields&)> choices;   ///< multiple_choice
  std::function<std::vector<int64_t>(Fields&)> gold;          ///< indices of right choices
  std::function<std::string(Fields&)> target;                 ///< the answer as text: examples, loglikelihood, generate
  std::function<std::string(Fields&)> prefix;                 ///< how the model's answer begins (gen_prefix); empty: nothing
  bool delimited_prefix = false;      ///< in a chat, target_delimiter stands between prefix and choice; without a prefix nothing does
  bool choices_are_contexts = false;  ///< each choice is a context, the target is the one continuation (WinoGrande)

  std::function<std::string(Fields&)> describe;  ///< a description of each document's own, instead of `description`
  std::string description, target_delimiter = " ", fewshot_delimiter = "\n\n";
  int64_t num_fewshot = 0;
  Generation generation;
  bool runs_code = false;  ///< judging executes what the model wrote: only when the caller allows it
  int64_t repeats = 1;  ///< answers generated to each question
  std::vector<Filter> filters = {{}};
  std::vector<Metric> metrics;
  /// Empty: the usual metrics of the output kind by name (acc, acc_norm, acc_bytes, exact_match, perplexity...).
  std::function<void(Fields&, const Answer&, MetricSink&)> judge;
};

/// Tasks whose results are combined: a mean weighted by documents (or not).
struct TaskGroup {
  std::string id, alias, version = "1.0";
  std::vector<std::string> members;  ///< tasks or groups
  std::vector<std::string> metrics;  ///< names with filter: "acc,none"
  bool weight_by_size = true;
};

std::span<const Task* const> tasks();
std::span<const TaskGroup* const> task_groups();
/// A task by id, or null.
const Task* find_task(std::string_view id);
const TaskGroup* find_task_group(std::string_view id);

}  // namespace nbl::eval
