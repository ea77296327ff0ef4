// Larger quantized against smaller full precision: each smaller model beside the recipe of about as many bytes.
#include <fmt/format.h>

#include <cmath>

#include "cli/eval_tables.h"
#include "cli/html.h"
#include "cli/json_text.h"
#include "cli/sweep.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

/// The largest recipe that is not larger than `bytes`; else the one nearest to it.
const SweepRow& of_equal_bytes(const Sweep& sweep, int64_t bytes) {
  const SweepRow* fits = nullptr;
  const SweepRow* nearest = nullptr;
  for (const SweepRow& r : sweep.rows) {
    if (r.original) continue;
    if (r.file_bytes <= bytes && (fits == nullptr || r.file_bytes > fits->file_bytes)) fits = &r;
    if (nearest == nullptr || std::llabs(r.file_bytes - bytes) < std::llabs(nearest->file_bytes - bytes)) nearest = &r;
  }
  return fits != nullptr ? *fits : *nearest;
}

void configure(Evaluation& evaluation, const Sweep& sweep, const SweepMeasures& how) {
  evaluation.set_text(read_file(resolve_data(sweep.text, "evaluation.txt")), sweep.text);
  evaluation.set("protocol", sweep.protocol);
  evaluation.set("windows", fmt::format("{}", how.windows));
  evaluation.set("limit", fmt::format("{}", how.limit));
}

double bits_per_byte(const Runtime& runtime, const Sweep& sweep, const SweepMeasures& how, const Model& model, const std::string& name) {
  Evaluation evaluation(runtime);
  configure(evaluation, sweep, how);
  evaluation.add_model(model, name);
  const Doc doc(evaluation.perplexity());
  return number(doc.root(), "bits_per_byte");
}

std::vector<std::string> header() {
  return {"smaller model", "MB", "bits a byte", "decode tok/s", "recipe", "MB", "bits a byte", "decode tok/s", "task", "smaller", "recipe", "difference, 95 %"};
}

std::vector<std::vector<std::string>> rows_of(const SweepRival& r) {
  std::vector<std::string> both = {r.name, fmt::format("{:.2f}", static_cast<double>(r.file_bytes) / 1e6), fmt::format("{:.4f}", r.bits_per_byte),
                                   fmt::format("{:.0f}", r.decode_tok_s), r.recipe, fmt::format("{:.2f}", static_cast<double>(r.recipe_bytes) / 1e6),
                                   fmt::format("{:.4f}", r.recipe_bits_per_byte), fmt::format("{:.0f}", r.recipe_decode_tok_s)};
  std::vector<std::vector<std::string>> rows;
  const Doc paired(r.paired.empty() ? "[]" : r.paired);
  for (const auto p : elements(paired.root())) {
    auto row = both;
    const auto ci = items(p, "ci95");
    const std::string metric = text(p, "metric");
    row.push_back(text(p, "task") + " " + metric.substr(0, metric.find(',')));
    row.push_back(fmt::format("{:.4f}", number(p, "value_a")));
    row.push_back(fmt::format("{:.4f}", number(p, "value_b")));
    row.push_back(fmt::format("{:+.4f} ({:+.4f} to {:+.4f})", number(p, "delta"), ci.at(0).get_double().value(), ci.at(1).get_double().value()));
    rows.push_back(std::move(row));
  }
  if (rows.empty()) {
    both.insert(both.end(), {"-", "-", "-", "-"});
    rows.push_back(std::move(both));
  }
  return rows;
}

}  // namespace

void measure_rivals(const Global& global, const Runtime& runtime, const std::vector<std::string>& baselines, const SweepMeasures& how,
                    Sweep* sweep) {
  for (const std::string& baseline : baselines) {
    if (!global.quiet) fmt::print(stderr, "compare with {} at equal bytes\n", baseline);
    const std::string path = resolve_model(baseline);
    SweepRival rival;
    rival.name = baseline;
    {
      const Doc inspected(global.open_checkpoint(runtime, path).inspect(0));
      rival.file_bytes = integer(inspected.root(), "file_bytes");
    }
    const Doc bench(bench_in_child(global, path, how.bench_options));
    rival.decode_tok_s = number(bench.root(), "decode_tok_s");
    const SweepRow& row = of_equal_bytes(*sweep, rival.file_bytes);
    rival.recipe = row.recipe;
    rival.recipe_bytes = row.file_bytes;
    rival.recipe_decode_tok_s = row.decode_tok_s;
    const Model small = global.open_model(runtime, path), large = global.open_model(runtime, row.path);
    rival.bits_per_byte = bits_per_byte(runtime, *sweep, how, small, baseline);
    rival.recipe_bits_per_byte = bits_per_byte(runtime, *sweep, how, large, row.recipe);
    if (!how.tasks.empty()) {
      Evaluation evaluation(runtime);
      evaluation.set_progress(make_progress(global));
      configure(evaluation, *sweep, how);
      add_tasks(evaluation, how.tasks, how.data);
      evaluation.add_model(small, baseline);
      evaluation.add_model(large, row.recipe);
      const Doc tasks(evaluation.tasks());
      rival.paired = raw(tasks.root(), "paired");
    }
    sweep->rivals.push_back(std::move(rival));
  }
}

std::string rivals_json(const Sweep& sweep) {
  std::string list;
  for (const SweepRival& r : sweep.rivals) {
    ObjectText o;
    o.set("baseline", r.name).set("file_bytes", r.file_bytes).set("bits_per_byte", r.bits_per_byte).set("decode_tok_s", r.decode_tok_s);
    o.set("recipe", r.recipe).set("recipe_file_bytes", r.recipe_bytes).set("recipe_bits_per_byte", r.recipe_bits_per_byte);
    o.set("recipe_decode_tok_s", r.recipe_decode_tok_s);
    o.set("bytes_ratio", static_cast<double>(r.recipe_bytes) / static_cast<double>(r.file_bytes));
    o.set_raw("paired", r.paired.empty() ? "[]" : r.paired);
    list += (list.empty() ? "" : ",") + o.text();
  }
  return "[" + list + "]";
}

std::string rivals_table(const Sweep& sweep, bool markdown) {
  Table table(header());
  for (const SweepRival& r : sweep.rivals)
    for (auto& row : rows_of(r)) table.add(std::move(row));
  return table.text(markdown);
}

std::string rivals_html(const Sweep& sweep) {
  if (sweep.rivals.empty()) return {};
  std::string s = "<h2>Larger quantized against smaller full precision</h2>\n<p>Each smaller model beside the largest recipe that takes no "
                  "more bytes (the nearest in size where there is none). Bits a byte of the same text under the same protocol; windows end "
                  "where each model's own tokens end. Differences are paired: recipe less smaller model.</p>\n"
                  "<div class=\"wide\"><table><thead><tr>";
  for (const std::string& h : header()) s += "<th>" + html_escaped(h) + "</th>";
  s += "</tr></thead><tbody>\n";
  for (const SweepRival& r : sweep.rivals) {
    for (const auto& row : rows_of(r)) {
      s += "<tr>";
      for (const std::string& cell : row) s += "<td>" + html_escaped(cell) + "</td>";
      s += "</tr>\n";
    }
  }
  return s + "</tbody></table></div>\n";
}

}  // namespace nibble::cli
