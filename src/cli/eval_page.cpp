// The report of `nibble eval`: summary, bars, differences, answers that changed, and how it was measured.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cli/eval_tables.h"
#include "cli/html.h"

namespace nibble::cli {
namespace {

constexpr std::size_t kFlips = 40;          ///< shown a pair of models and task
constexpr std::size_t kTextBytes = 4000;    ///< of a prompt or answer

/// The metric that stands for a task: the first of these that it has, else its first.
std::string primary_metric(const Doc::Element& row) {
  std::string first;
  for (const char* wanted : {"acc_norm", "acc", "exact_match", "smoothed_bleu_4", "pass@1", "bleu"}) {
    for (const auto [key, value] : members(row)) {
      const std::string name(key);
      if (name.find(',') == std::string::npos || name.find("_stderr,") != std::string::npos || !value.is_number()) continue;
      if (first.empty()) first = name;
      if (name.starts_with(std::string(wanted) + ",")) return name;
    }
  }
  return first;
}

std::string stderr_key(const std::string& metric) {
  const std::size_t comma = metric.find(',');
  return metric.substr(0, comma) + "_stderr" + metric.substr(comma);
}

std::string table_of(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::string s = "<div class=\"wide\"><table><thead><tr>";
  for (const std::string& h : header) s += "<th>" + html_escaped(h) + "</th>";
  s += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    s += "<tr>";
    for (const std::string& cell : row) s += "<td>" + html_escaped(cell) + "</td>";
    s += "</tr>\n";
  }
  return s + "</tbody></table></div>\n";
}

std::string summary(const Doc::Element& whole) {
  std::vector<std::string> header = {"task", "metric", "n"};
  for (const auto m : items(whole, "models")) header.push_back(text(m, "name"));
  std::vector<std::vector<std::string>> rows;
  for (const auto [task, row] : members(whole, "results")) {
    for (const auto [key, value] : members(row)) {
      const std::string name(key);
      if (name.find(',') == std::string::npos || name.find("_stderr,") != std::string::npos || !value.is_number()) continue;
      std::vector<std::string> cells = {std::string(task), name, fmt::format("{}", integer(row, "sample_len"))};
      for (const auto m : items(whole, "models")) {
        const auto results = m["results"].value();
        simdjson::dom::element own;
        if (results.at_key(task).get(own) != simdjson::SUCCESS) {
          cells.emplace_back("-");
          continue;
        }
        std::string cell = fmt::format("{:.4f}", number(own, name));
        if (own.at_key(stderr_key(name)).is_number()) cell += fmt::format(" ± {:.4f}", number(own, stderr_key(name)));
        cells.push_back(std::move(cell));
      }
      rows.push_back(std::move(cells));
    }
  }
  return table_of(header, rows);
}

std::string bars(const Doc::Element& whole) {
  std::string s = "<div class=\"charts\">\n";
  const int models = static_cast<int>(items(whole, "models").size());
  for (const auto [task, row] : members(whole, "results")) {
    const std::string metric = primary_metric(row);
    if (metric.empty()) continue;
    std::vector<Bar> list;
    for (const auto m : items(whole, "models")) {
      simdjson::dom::element own;
      if (m["results"].at_key(task).get(own) != simdjson::SUCCESS) continue;
      const double value = number(own, metric), half = 1.96 * number(own, stderr_key(metric));
      list.push_back({text(m, "name"), value, value - half, value + half});
    }
    s += bar_chart(list, std::string(task) + ", " + metric.substr(0, metric.find(',')), models);
  }
  return s + "</div>\n";
}

std::string differences(const Doc::Element& whole) {
  std::vector<std::vector<std::string>> rows;
  for (const auto p : items(whole, "paired")) {
    const auto ci = items(p, "ci95");
    rows.push_back({text(p, "task"), text(p, "metric"), text(p, "a"), text(p, "b"), fmt::format("{:+.4f}", number(p, "delta")),
                    fmt::format("{:+.4f} to {:+.4f}", ci.at(0).get_double().value(), ci.at(1).get_double().value()),
                    fmt::format("{:.3g}", number(p, "mcnemar_p")), fmt::format("{:.3g}", number(p, "holm_p")),
                    fmt::format("+{} −{}", integer(p, "flips_to_right"), integer(p, "flips_to_wrong")),
                    flag(p, "non_inferior") ? "yes" : "open"});
  }
  return table_of({"task", "metric", "a", "b", "b − a", "95 % interval", "p (exact)", "p (Holm)", "flips", "not worse by the margin"}, rows);
}

std::string clipped(std::string text) {
  if (text.size() <= kTextBytes) return text;
  // The end of a prompt is its question.
  std::size_t cut = text.size() - kTextBytes;
  while (cut < text.size() && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) ++cut;
  return "…" + text.substr(cut);
}

/// What a model said: the text, or the choice it found likeliest.
std::string said(const Doc::Element& sample) {
  std::string best;
  double most = 0;
  std::size_t index = 0;
  for (const auto response : items(sample, "filtered_resps")) {
    if (response.is_string()) return std::string(response.get_string().value());
    const auto pair = elements(response);
    if (pair.size() == 0 || !pair.at(0).is_string()) continue;
    const double ll = std::strtod(std::string(pair.at(0).get_string().value()).c_str(), nullptr);
    const auto argument = sample["arguments"][fmt::format("gen_args_{}", index)];
    std::string_view choice;
    if ((best.empty() || ll > most) && argument["arg_1"].get_string().get(choice) == simdjson::SUCCESS) {
      most = ll;
      // Where contexts differ, the context tells the choices apart.
      const auto first = sample["arguments"]["gen_args_0"]["arg_1"];
      std::string_view same, context;
      if (index > 0 && first.get_string().get(same) == simdjson::SUCCESS && same == choice &&
          argument["arg_0"].get_string().get(context) == simdjson::SUCCESS) {
        best = std::string(context) + std::string(choice);
      } else {
        best = choice;
      }
    }
    ++index;
  }
  return best;
}

/// The samples of one task under its first filter, by document.
std::map<int64_t, Doc::Element> by_document(const Doc::Element& holder, std::string_view task) {
  std::map<int64_t, Doc::Element> result;
  simdjson::dom::element list;
  if (!has(holder, "samples") || holder["samples"].at_key(task).get(list) != simdjson::SUCCESS) return result;
  for (const auto sample : elements(list)) result.emplace(integer(sample, "doc_id"), sample);
  return result;
}

std::string flips(const Doc::Element& whole) {
  const auto models = items(whole, "models");
  if (models.size() < 2) return {};
  std::string s;
  const auto first = models.at(0).value();
  for (std::size_t m = 1; m < models.size(); ++m) {
    const auto other = models.at(m).value();
    for (const auto [task, row] : members(whole, "results")) {
      const std::string metric = primary_metric(row), name = metric.substr(0, metric.find(','));
      const auto one = by_document(first, task), two = by_document(other, task);
      std::size_t shown = 0;
      for (const auto& [id, a] : one) {
        const auto b = two.find(id);
        if (b == two.end() || number(a, name, -1) == number(b->second, name, -1) || shown == kFlips) continue;
        ++shown;
        const bool better = number(b->second, name) > number(a, name);
        std::string_view prompt;
        if (a["arguments"]["gen_args_0"]["arg_0"].get_string().get(prompt) != simdjson::SUCCESS) prompt = {};
        s += fmt::format(
            "<details><summary>{} #{}: {} → {} <span class=\"{}\">{}</span></summary><pre>{}</pre><div class=\"pair\"><div>{} "
            "({} {:g})<pre>{}</pre></div><div>{} ({} {:g})<pre>{}</pre></div></div></details>\n",
            html_escaped(task), id, html_escaped(text(first, "name")), html_escaped(text(other, "name")),
            better ? "right" : "wrong", better ? "gained" : "lost", html_escaped(clipped(std::string(prompt))),
            html_escaped(text(first, "name")), html_escaped(name), number(a, name), html_escaped(clipped(said(a))),
            html_escaped(text(other, "name")), html_escaped(name), number(b->second, name), html_escaped(clipped(said(b->second))));
      }
    }
  }
  return s.empty() ? "<p>No answer changed.</p>\n" : s;
}

std::string protocol(const Doc::Element& whole) {
  std::string s = "<dl>";
  const auto item = [&](std::string_view name, std::string_view value) {
    s += fmt::format("<dt>{}</dt><dd>{}</dd>", html_escaped(name), html_escaped(value));
  };
  item("nibble", text(whole, "nibble_version"));
  const auto plain = [](const Doc::Element& value) {
    return value.is_string() ? std::string(value.get_string().value()) : minified(value);
  };
  for (const auto [key, value] : members(whole, "machine")) item(key, plain(value));
  for (const auto [key, value] : members(whole, "config")) item(key, plain(value));
  for (const auto m : items(whole, "models")) item("model " + text(m, "name"), "sha256 " + text(m, "model_sha256"));
  for (const auto [task, config] : members(whole, "configs")) {
    item(task, fmt::format("version {}, {}-shot, {}, data {} (sha256 {})", raw(whole["versions"].value(), task), integer(config, "num_fewshot"),
                           text(config, "output_type"), text(config, "data_file"), text(config, "data_sha256")));
  }
  return s + "</dl>\n<p>Standard errors as lm-evaluation-harness computes them; bars show 1.96 of them either way. Differences are "
             "paired, request by request: 95 % intervals by the bias-corrected and accelerated bootstrap over documents, which are "
             "taken to be independent draws; p by the exact McNemar test, corrected over tasks by Holm.</p>\n";
}

}  // namespace

std::string eval_page(const Doc::Element& whole) {
  std::string s = html_head("Evaluation");
  s += "<h2>Summary</h2>\n" + summary(whole);
  s += "<h2>Tasks</h2>\n" + bars(whole);
  if (items(whole, "paired").size() > 0) {
    s += "<h2>Differences</h2>\n" + differences(whole);
    s += "<h2>Answers that changed</h2>\n" + flips(whole);
  }
  s += "<h2>Protocol</h2>\n" + protocol(whole);
  return s + "</body></html>\n";
}

}  // namespace nibble::cli
