#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/json_text.h"
#include "cli/sweep.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

double megabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

std::vector<std::string> header(const Sweep& sweep) {
  std::vector<std::string> names{"recipe",        "bits/weight",  "file MB",    "peak RSS MB", "quantize s", "load ms",
                                 "prefill tok/s", "decode tok/s", "perplexity", "mean KL",     "top-1 %"};
  for (const auto& [task, acc] : sweep.rows.front().tasks) names.push_back(task + " acc");
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
  for (const auto& [task, acc] : r.tasks) row.push_back(fmt::format("{:.3f} ± {:.3f}", acc.first, acc.second));
  return row;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

struct Point {
  double x, y;
  std::string label;
};

/// Round numbers that cover [low, high], about five of them.
std::vector<double> ticks(double low, double high) {
  const double raw_step = (high - low) / 5;
  const double power = std::pow(10.0, std::floor(std::log10(raw_step)));
  const double step = power * (raw_step / power < 1.5   ? 1
                               : raw_step / power < 3.5 ? 2
                               : raw_step / power < 7.5 ? 5
                                                        : 10);
  std::vector<double> values;
  for (double v = std::ceil(low / step) * step; v <= high + step * 1e-9; v += step) values.push_back(v);
  return values;
}

/// A scatter plot as SVG. log_y: decades.
std::string scatter(const std::vector<Point>& points, const std::string& x_title, const std::string& y_title,
                    bool log_y) {
  if (points.empty()) return "<p>Nothing to plot.</p>";
  constexpr double kWidth = 620, kHeight = 380, kLeft = 70, kRight = 20, kTop = 20, kBottom = 50;
  double x0 = points[0].x, x1 = x0, y0 = points[0].y, y1 = y0;
  for (const Point& p : points) {
    x0 = std::min(x0, p.x), x1 = std::max(x1, p.x);
    y0 = std::min(y0, p.y), y1 = std::max(y1, p.y);
  }
  x0 = 0;
  x1 = x1 > 0 ? x1 * 1.15 : 1;
  const auto scale_y = [&](double y) { return log_y ? std::log10(y) : y; };
  double low = log_y ? std::floor(scale_y(y0)) : 0, high = log_y ? std::ceil(scale_y(y1)) : y1 * 1.1;
  if (!(high > low)) high = low + 1;
  const auto px = [&](double x) { return kLeft + (x - x0) / (x1 - x0) * (kWidth - kLeft - kRight); };
  const auto py = [&](double y) {
    return kHeight - kBottom - (scale_y(y) - low) / (high - low) * (kHeight - kTop - kBottom);
  };
  std::string s = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{} against {}\">\n", kWidth,
                              kHeight, escaped(y_title), escaped(x_title));
  for (const double t : ticks(x0, x1)) {
    s += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/><text x=\"{0:.1f}\" y=\"{3}\" "
        "text-anchor=\"middle\">{4:g}</text>\n",
        px(t), kTop, kHeight - kBottom, kHeight - kBottom + 18, t);
  }
  std::vector<double> y_ticks;
  if (log_y) {
    for (double e = low; e <= high; ++e) y_ticks.push_back(std::pow(10.0, e));
  } else {
    y_ticks = ticks(low, high);
  }
  for (const double t : y_ticks) {
    s += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{:g}</text>\n",
        kLeft, kWidth - kRight, py(t), py(t), kLeft - 6, py(t) + 4, t);
  }
  for (const Point& p : points) {
    const bool flip = px(p.x) > kWidth * 0.7;
    s += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}: {:.4g}, {:.4g}</title></circle><text class=\"label\" "
        "x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
        px(p.x), py(p.y), escaped(p.label), p.x, p.y, px(p.x) + (flip ? -8 : 8), py(p.y) - 5, flip ? "end" : "start",
        escaped(p.label));
  }
  s += fmt::format("<text class=\"title\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                   (kLeft + kWidth - kRight) / 2, kHeight - 10, escaped(x_title));
  s += fmt::format(
      "<text class=\"title\" transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n</svg>\n",
      (kTop + kHeight - kBottom) / 2, escaped(y_title));
  return s;
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
    for (const auto& [task, acc] : r.tasks) {
      tasks.set_raw(task, ObjectText().set("acc,none", acc.first).set("acc_stderr,none", acc.second).text());
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
  return indented(j.text());
}

std::string sweep_table(const Sweep& sweep, bool markdown) {
  Table table(header(sweep));
  for (const SweepRow& r : sweep.rows) table.add(cells(r));
  return table.text(markdown);
}

std::string sweep_html(const Sweep& sweep) {
  std::string head, body;
  for (const std::string& name : header(sweep)) head += "<th>" + escaped(name) + "</th>";
  for (const SweepRow& r : sweep.rows) {
    body += r.pareto ? "<tr class=\"pareto\">" : "<tr>";
    for (const std::string& cell : cells(r)) body += "<td>" + escaped(cell) + "</td>";
    body += "</tr>\n";
  }
  std::vector<Point> kl, speed;
  for (const SweepRow& r : sweep.rows) {
    if (!r.original && r.mean_kl > 0) kl.push_back({r.bits_per_weight, r.mean_kl, r.recipe});
    speed.push_back({megabytes(r.file_bytes), r.decode_tok_s, r.recipe});
  }
  std::string continuations;
  for (const SweepRow& r : sweep.rows) {
    if (!r.continuation.empty()) {
      continuations += fmt::format("<dt>{}</dt><dd><b>{}</b>{}</dd>\n", escaped(r.recipe), escaped(sweep.prompt),
                                   escaped(r.continuation));
    }
  }
  const Doc machine(sweep.machine);
  return fmt::format(R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>nibble: what quantization costs</title>
<style>
body{{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222;background:#fff}}
table{{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}}
th,td{{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}}
th:first-child,td:first-child{{text-align:left}} .pareto td:first-child{{font-weight:bold}}
.scroll{{overflow-x:auto}} .plots{{display:flex;flex-wrap:wrap;gap:1em}} .plots figure{{flex:1 1 480px;margin:0}}
svg{{width:100%;height:auto}} svg text{{font:11px system-ui,sans-serif;fill:#444}} svg .title{{font-size:13px}}
.grid{{stroke:#e4e4e4}} circle{{fill:#1464b4}} dt{{font-weight:bold;margin-top:.6em}} dd{{margin-left:1em}}
</style></head><body>
<h1>What quantization costs</h1>
<p>Model {}; text {}, protocol {}, {} tokens scored. Errors are standard errors over windows (questions, for accuracy).
Mean KL is that of the original's next-token distribution from the candidate's, in nats. Rows in bold are beaten by no other
in both bits per weight and mean KL.</p>
<p>nibble {}, {}, {} threads, {}.</p>
<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>
{}</tbody></table></div>
<div class="plots"><figure><h2>KL against bits per weight</h2>{}</figure>
<figure><h2>Decode speed against size</h2>{}</figure></div>
<h2>Greedy continuations</h2><dl>
{}</dl></body></html>
)",
                     escaped(sweep.model), escaped(sweep.text), escaped(sweep.protocol), sweep.tokens, nbl_version(),
                     escaped(text(machine.root(), "cpu")), integer(machine.root(), "threads"),
                     escaped(text(machine.root(), "isa")), head, body,
                     scatter(kl, "bits per weight", "mean KL, nats", true),
                     scatter(speed, "file, MB", "decode, tokens per second", false), continuations);
}

}  // namespace nibble::cli
