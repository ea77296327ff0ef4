#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "cli/html.h"
#include "cli/json_text.h"
#include "cli/sweep.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

double megabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

std::vector<std::string> header(const Sweep& sweep) {
  std::vector<std::string> names{"recipe",        "bits/weight",  "file MB",    "peak RSS MB", "quantize s", "load ms",
                                 "prefill tok/s", "decode tok/s", "perplexity", "mean KL",     "top-1 %"};
  for (const SweepTask& t : sweep.rows.front().tasks) names.push_back(t.task + " " + t.metric.substr(0, t.metric.find(',')));
  return names;
}

std::vector<std::string> cells(const SweepRow& r) {
  std::vector<std::string> row{r.recipe,
                               fmt::format("{:.3f}", r.bits_per_weight),
                               fmt::format("{:.2f}", megabytes(r.file_bytes)),
                               fmt::format("{:.1f}", megabytes(r.peak_rss_bytes)),
                               r.original ? "-" : fmt::format("{:.2f}", r.quantize_seconds),
                               fmt::format("{:.1f}", r.load_ms),
                               fmt::format("{:.0f}", r.prefill_tok_s),
                               fmt::format("{:.0f}", r.decode_tok_s),
                               fmt::format("{:.3f} ± {:.3f}", r.perplexity, r.perplexity_stderr),
                               r.original ? "-" : fmt::format("{:.5f} ± {:.5f}", r.mean_kl, r.kl_stderr),
                               r.original ? "-" : fmt::format("{:.2f}", 100 * r.top1_agreement)};
  for (const SweepTask& t : r.tasks) row.push_back(fmt::format("{:.3f} ± {:.3f}", t.value, t.error));
  return row;
}

}  // namespace

void mark_pareto(Sweep* sweep) {
  for (SweepRow& r : sweep->rows) {
    r.pareto = std::none_of(sweep->rows.begin(), sweep->rows.end(), [&](const SweepRow& other) {
      return other.bits_per_weight <= r.bits_per_weight && other.mean_kl <= r.mean_kl &&
             (other.bits_per_weight < r.bits_per_weight || other.mean_kl < r.mean_kl);
    });
  }
}

std::string sweep_json(const Sweep& sweep) {
  std::string rows, pareto;
  for (const SweepRow& r : sweep.rows) {
    ObjectText tasks;
    for (const SweepTask& t : r.tasks) {
      const std::size_t comma = t.metric.find(',');
      tasks.set_raw(t.task, ObjectText()
                                .set(t.metric, t.value)
                                .set(t.metric.substr(0, comma) + "_stderr" + t.metric.substr(comma), t.error)
                                .text());
    }
    ObjectText o;
    o.set("recipe", r.recipe)
        .set("path", r.path)
        .set("bits_per_weight", r.bits_per_weight)
        .set("file_bytes", r.file_bytes);
    o.set("peak_rss_bytes", r.peak_rss_bytes).set("quantize_seconds", r.quantize_seconds).set("load_ms", r.load_ms);
    o.set("prefill_tok_s", r.prefill_tok_s).set("decode_tok_s", r.decode_tok_s);
    o.set("perplexity", r.perplexity).set("perplexity_stderr", r.perplexity_stderr);
    o.set("mean_kl", r.mean_kl).set("kl_stderr", r.kl_stderr).set("top1_agreement", r.top1_agreement);
    o.set_raw("tasks", tasks.text()).set("continuation", r.continuation);
    rows += (rows.empty() ? "" : ",") + o.text();
    if (r.pareto) pareto += (pareto.empty() ? "" : ",") + json_string(r.recipe);
  }
  ObjectText j;
  j.set("nibble_version", nbl_version()).set_raw("machine", sweep.machine).set("model", sweep.model);
  j.set("text", sweep.text).set("protocol", sweep.protocol).set("tokens", sweep.tokens).set("prompt", sweep.prompt);
  j.set_raw("rows", "[" + rows + "]").set_raw("pareto", "[" + pareto + "]");
  if (!sweep.rivals.empty()) j.set_raw("equal_bytes", rivals_json(sweep));
  return indented(j.text());
}

std::string sweep_table(const Sweep& sweep, bool markdown) {
  Table table(header(sweep));
  for (const SweepRow& r : sweep.rows) table.add(cells(r));
  return table.text(markdown);
}

namespace {

constexpr double kDarkest = 0.55;  ///< opacity behind a number; above 0.6 light text on a dark page loses its contrast of 4.5

/// The mean error of each layer's matrices, a column a recipe; stronger is worse.
std::string heat_map(const Sweep& sweep) {
  std::map<int64_t, std::map<std::size_t, std::pair<double, int64_t>>> layers;
  double worst = 0;
  for (std::size_t r = 0; r < sweep.rows.size(); ++r) {
    for (const auto& [name, error] : sweep.rows[r].errors) {
      const std::size_t at = name.find_first_of("0123456789");
      const int64_t layer = at == std::string::npos ? -1 : std::strtoll(name.c_str() + at, nullptr, 10);
      auto& [sum, count] = layers[layer][r];
      sum += error;
      ++count;
    }
  }
  if (layers.empty()) return {};
  for (const auto& [layer, columns] : layers)
    for (const auto& [r, cell] : columns) worst = std::max(worst, cell.first / static_cast<double>(cell.second));
  std::string s = "<h2>Error layer by layer</h2>\n<p>Relative error of the quantized matrices of each layer, mean; a stronger colour is a larger one.</p>\n"
                  "<div class=\"wide\"><table class=\"heat\"><thead><tr><th>layer</th>";
  for (const SweepRow& row : sweep.rows)
    if (!row.original) s += "<th>" + html_escaped(row.recipe) + "</th>";
  s += "</tr></thead><tbody>\n";
  for (const auto& [layer, columns] : layers) {
    s += fmt::format("<tr><td>{}</td>", layer < 0 ? std::string("other") : fmt::format("{}", layer));
    for (std::size_t r = 0; r < sweep.rows.size(); ++r) {
      if (sweep.rows[r].original) continue;
      const auto cell = columns.find(r);
      if (cell == columns.end()) {
        s += "<td>-</td>";
        continue;
      }
      const double error = cell->second.first / static_cast<double>(cell->second.second);
      s += fmt::format("<td style=\"background:rgba(217,119,6,{:.2f})\">{:.4f}</td>", worst > 0 ? kDarkest * error / worst : 0.0, error);
    }
    s += "</tr>\n";
  }
  return s + "</tbody></table></div>\n";
}

std::string task_bars(const Sweep& sweep) {
  std::string s;
  for (std::size_t t = 0; t < sweep.rows.front().tasks.size(); ++t) {
    std::vector<Bar> bars;
    for (const SweepRow& r : sweep.rows) {
      if (t >= r.tasks.size()) continue;
      const double half = 1.96 * r.tasks[t].error;
      bars.push_back({r.recipe, r.tasks[t].value, r.tasks[t].value - half, r.tasks[t].value + half});
    }
    const SweepTask& first = sweep.rows.front().tasks[t];
    s += bar_chart(bars, first.task + ", " + first.metric.substr(0, first.metric.find(',')), 1);
  }
  return s.empty() ? s : "<h2>Tasks</h2>\n<div class=\"charts\">\n" + s + "</div>\n";
}

/// Marks the points that no other beats in both directions; `small_x`, `small_y`: less is better.
void mark_front(std::vector<Point>& points, bool small_x, bool small_y) {
  for (Point& p : points) {
    p.front = std::none_of(points.begin(), points.end(), [&](const Point& o) {
      const bool x = small_x ? o.x <= p.x : o.x >= p.x, y = small_y ? o.y <= p.y : o.y >= p.y;
      return x && y && (o.x != p.x || o.y != p.y);
    });
  }
}

/// Each task's metric against bytes and against decode speed.
std::string task_plots(const Sweep& sweep) {
  std::string s;
  for (std::size_t t = 0; t < sweep.rows.front().tasks.size(); ++t) {
    std::vector<Point> size, speed;
    for (const SweepRow& r : sweep.rows) {
      if (t >= r.tasks.size()) continue;
      const double value = r.tasks[t].value, half = 1.96 * r.tasks[t].error;
      size.push_back({megabytes(r.file_bytes), value, value - half, value + half, r.recipe, false});
      speed.push_back({r.decode_tok_s, value, value - half, value + half, r.recipe, false});
    }
    const SweepTask& task = sweep.rows.front().tasks[t];
    const bool small = task.metric.find("perplexity") != std::string::npos || task.metric.find("bits") != std::string::npos;
    mark_front(size, true, small);
    mark_front(speed, false, small);
    const std::string title = task.task + ", " + task.metric.substr(0, task.metric.find(','));
    s += scatter_plot(size, "file, MB", title, false) + scatter_plot(speed, "decode, tokens per second", title, false);
  }
  return s;
}

}  // namespace

std::string sweep_html(const Sweep& sweep) {
  std::string s = html_head("What quantization costs");
  const Doc machine(sweep.machine);
  s += fmt::format(
      "<p>Model {}; text {}, protocol {}, {} tokens scored. Errors are standard errors over windows (questions, for tasks). Mean KL is "
      "that of the original's next-token distribution from the candidate's, in nats. Rows in bold are beaten by no other in both bits per "
      "weight and mean KL.</p>\n<p>nibble {}, {}, {} threads, {}.</p>\n",
      html_escaped(sweep.model), html_escaped(sweep.text), html_escaped(sweep.protocol), sweep.tokens, nbl_version(),
      html_escaped(text(machine.root(), "cpu")), integer(machine.root(), "threads"), html_escaped(text(machine.root(), "isa")));
  s += "<div class=\"wide\"><table><thead><tr>";
  for (const std::string& name : header(sweep)) s += "<th>" + html_escaped(name) + "</th>";
  s += "</tr></thead><tbody>\n";
  for (const SweepRow& r : sweep.rows) {
    s += r.pareto ? "<tr style=\"font-weight:600\">" : "<tr>";
    for (const std::string& cell : cells(r)) s += "<td>" + html_escaped(cell) + "</td>";
    s += "</tr>\n";
  }
  s += "</tbody></table></div>\n";
  std::vector<Point> size, speed, ppl;
  for (const SweepRow& r : sweep.rows) {
    ppl.push_back({megabytes(r.file_bytes), r.perplexity, r.perplexity - 1.96 * r.perplexity_stderr,
                   r.perplexity + 1.96 * r.perplexity_stderr, r.recipe, false});
    if (r.original || !(r.mean_kl > 0)) continue;
    const double low = std::max(r.mean_kl - 1.96 * r.kl_stderr, r.mean_kl * 0.1), high = r.mean_kl + 1.96 * r.kl_stderr;
    size.push_back({megabytes(r.file_bytes), r.mean_kl, low, high, r.recipe, false});
    speed.push_back({r.decode_tok_s, r.mean_kl, low, high, r.recipe, false});
  }
  mark_front(size, true, true);
  mark_front(speed, false, true);
  mark_front(ppl, true, true);
  s += "<h2>Quality against size and speed</h2>\n<div class=\"charts\">\n";
  s += scatter_plot(size, "file, MB", "mean KL, nats", true) + scatter_plot(speed, "decode, tokens per second", "mean KL, nats", true);
  s += scatter_plot(ppl, "file, MB", "perplexity", false) + task_plots(sweep) + "</div>\n<p>Whiskers: 95 %. The line joins what no other recipe beats.</p>\n";
  s += task_bars(sweep) + rivals_html(sweep) + heat_map(sweep);
  std::string continuations;
  for (const SweepRow& r : sweep.rows) {
    if (!r.continuation.empty())
      continuations += fmt::format("<dt>{}</dt><dd><b>{}</b>{}</dd>\n", html_escaped(r.recipe), html_escaped(sweep.prompt),
                                   html_escaped(r.continuation));
  }
  if (!continuations.empty()) s += "<h2>Greedy continuations</h2><dl>\n" + continuations + "</dl>\n";
  return s + "</body></html>\n";
}

}  // namespace nibble::cli
