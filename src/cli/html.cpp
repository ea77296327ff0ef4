#include "cli/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace nibble::cli {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--soft:#f3f4f6;--line:#d5d9df;--dim:#5b6470;--a:#2563eb;--b:#d97706;--c:#059669;--bad:#b91c1c;--good:#047857}
@media (prefers-color-scheme:dark){:root{--fg:#e6e8eb;--bg:#14171b;--soft:#1e2329;--line:#39414b;--dim:#9aa4b0;--a:#6ea8fe;--b:#f5b14c;--c:#4ade9c;--bad:#f87171;--good:#4ade80}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:72rem;font:16px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg)}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{color:var(--dim);font-weight:600}td:first-child,th:first-child{text-align:left}
svg{width:100%;max-width:44rem;height:auto;display:block}svg text{fill:var(--fg);font-size:12px}
.grid{stroke:var(--line)}.dim{fill:var(--dim)!important}.front{fill:none;stroke:var(--c);stroke-width:2}
.whisker{stroke:var(--fg);stroke-width:1.5}.s0{fill:var(--a)}.s1{fill:var(--b)}.s2{fill:var(--c)}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr))}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.4rem .7rem}summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--soft);padding:.6rem;border-radius:.4rem;font-size:.85rem;margin:.4rem 0}
.pair{display:grid;gap:.7rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr))}
.right{color:var(--good)}.wrong{color:var(--bad)}.heat td{text-align:center}
dl{display:grid;grid-template-columns:fit-content(24rem) minmax(0,1fr);gap:.1rem 1rem;font-size:.9rem}
dt{color:var(--dim);overflow-wrap:anywhere}dd{margin:0;overflow-wrap:anywhere}
@media (max-width:40rem){dl{grid-template-columns:minmax(0,1fr)}dd{margin:0 0 .4rem 1rem}}
)";

/// Round numbers that cover [low, high], about five of them.
std::vector<double> ticks(double low, double high) {
  const double raw_step = (high - low) / 5;
  if (!(raw_step > 0)) return {low};
  const double power = std::pow(10.0, std::floor(std::log10(raw_step)));
  const double step = power * (raw_step / power < 1.5 ? 1 : raw_step / power < 3.5 ? 2 : raw_step / power < 7.5 ? 5 : 10);
  std::vector<double> values;
  for (double v = std::ceil(low / step) * step; v <= high + step * 1e-9; v += step) values.push_back(std::fabs(v) < step * 1e-9 ? 0 : v);
  return values;
}

struct Box {
  double x, y, width, height;
  bool meets(const Box& o) const { return x < o.x + o.width && o.x < x + width && y < o.y + o.height && o.y < y + height; }
};

/// A free place for a point's label near it, within the frame; none when all are taken: then its tooltip must do.
std::optional<Box> place_label(double x, double y, const std::string& label, const Box& frame, const std::vector<Box>& taken) {
  const double width = 6.7 * static_cast<double>(label.size());
  for (const double dy : {-17.0, -6.0, 5.0, -28.0, 16.0, -39.0, 27.0}) {
    for (const double left : {x + 8, x - 8 - width, x - width / 2}) {
      if (left == x - width / 2 && dy > -17 && dy < 5) continue;  // over the point itself
      const Box box = {left, y + dy, width, 12};
      if (box.x < frame.x || box.x + box.width > frame.x + frame.width || box.y < frame.y || box.y + box.height > frame.y + frame.height) continue;
      if (std::none_of(taken.begin(), taken.end(), [&](const Box& o) { return o.meets(box); })) return box;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string html_escaped(std::string_view text) {
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

std::string html_head(std::string_view title) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>{0}</title><style>{1}</style></head><body>\n<h1>{0}</h1>\n",
      html_escaped(title), kStyle);
}

std::string bar_chart(const std::vector<Bar>& bars, std::string_view title, int series) {
  constexpr double kWidth = 520, kRow = 26, kLeft = 190, kRight = 70, kTop = 30;
  double low = 0, high = 0;
  for (const Bar& b : bars) {
    low = std::min({low, b.value, b.low});
    high = std::max({high, b.value, b.high});
  }
  if (!(high > low)) high = low + 1;
  const auto px = [&](double x) { return kLeft + (x - low) / (high - low) * (kWidth - kLeft - kRight); };
  const double height = kTop + kRow * static_cast<double>(bars.size()) + 8;
  std::string s = fmt::format("<svg viewBox=\"0 0 {} {:.0f}\" role=\"img\" aria-label=\"{}\"><text x=\"0\" y=\"16\" "
                              "font-weight=\"600\">{}</text>\n",
                              kWidth, height, html_escaped(title), html_escaped(title));
  double y = kTop;
  int index = 0;
  for (const Bar& b : bars) {
    const double x0 = px(std::min(0.0, b.value)), x1 = px(std::max(0.0, b.value)), middle = y + 10;
    // The end of a long name tells more than its start.
    const std::string label = b.label.size() > 27 ? "…" + b.label.substr(b.label.size() - 26) : b.label;
    s += fmt::format("<text x=\"{}\" y=\"{:.0f}\" text-anchor=\"end\">{}</text><rect class=\"s{}\" x=\"{:.1f}\" y=\"{:.0f}\" "
                     "width=\"{:.1f}\" height=\"18\" rx=\"2\"><title>{}: {:.4f}</title></rect>",
                     kLeft - 8, middle + 4, html_escaped(label), series > 1 ? index % series % 3 : 0, x0, y + 1,
                     std::max(1.0, x1 - x0), html_escaped(b.label), b.value);
    if (b.high > b.low)
      s += fmt::format("<path class=\"whisker\" d=\"M{0:.1f} {2:.0f}H{1:.1f}M{0:.1f} {3:.0f}V{4:.0f}M{1:.1f} {3:.0f}V{4:.0f}\"/>",
                       px(b.low), px(b.high), middle, middle - 4, middle + 4);
    s += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\">{:.3f}</text>\n", std::max(x1, px(b.high)) + 6, middle + 4, b.value);
    y += kRow;
    ++index;
  }
  return s + "</svg>\n";
}

std::string scatter_plot(const std::vector<Point>& points, const std::string& x_title, const std::string& y_title, bool log_y) {
  if (points.empty()) return "<p>Nothing to plot.</p>\n";
  constexpr double kWidth = 500, kHeight = 340, kLeft = 64, kRight = 20, kTop = 20, kBottom = 50;
  double x1 = 0, y0 = points[0].y, y1 = y0;
  for (const Point& p : points) {
    x1 = std::max(x1, p.x);
    y0 = std::min(y0, log_y ? p.y : std::min(p.y, p.high > p.low ? p.low : p.y));
    y1 = std::max(y1, p.high > p.low ? p.high : p.y);
  }
  x1 = x1 > 0 ? x1 * 1.15 : 1;
  const auto scale_y = [&](double y) { return log_y ? std::log10(std::max(y, 1e-12)) : y; };
  double low = log_y ? std::floor(scale_y(y0)) : y0 - 0.1 * (y1 - y0), high = log_y ? std::ceil(scale_y(y1)) : y1 + 0.1 * (y1 - y0);
  if (!(high > low)) high = low + 1;
  const auto px = [&](double x) { return kLeft + x / x1 * (kWidth - kLeft - kRight); };
  const auto py = [&](double y) {
    return kHeight - kBottom - (std::clamp(scale_y(y), low, high) - low) / (high - low) * (kHeight - kTop - kBottom);
  };
  std::string s = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{} against {}\">\n", kWidth, kHeight,
                              html_escaped(y_title), html_escaped(x_title));
  for (const double t : ticks(0, x1))
    s += fmt::format("<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/><text class=\"dim\" x=\"{0:.1f}\" "
                     "y=\"{3}\" text-anchor=\"middle\">{4:g}</text>\n",
                     px(t), kTop, kHeight - kBottom, kHeight - kBottom + 18, t);
  std::vector<double> y_ticks;
  if (log_y) {
    for (double e = low; e <= high; ++e) y_ticks.push_back(std::pow(10.0, e));
  } else {
    y_ticks = ticks(low, high);
  }
  for (const double t : y_ticks)
    s += fmt::format("<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text class=\"dim\" x=\"{}\" y=\"{:.1f}\" "
                     "text-anchor=\"end\">{:g}</text>\n",
                     kLeft, kWidth - kRight, py(t), py(t), kLeft - 6, py(t) + 4, t);
  std::vector<Point> front;
  for (const Point& p : points)
    if (p.front) front.push_back(p);
  std::sort(front.begin(), front.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  if (front.size() > 1) {
    s += "<path class=\"front\" d=\"";
    for (std::size_t i = 0; i < front.size(); ++i) s += fmt::format("{}{:.1f} {:.1f}", i == 0 ? "M" : "L", px(front[i].x), py(front[i].y));
    s += "\"/>\n";
  }
  std::vector<Box> taken;
  for (const Point& p : points) taken.push_back({px(p.x) - 5, py(p.y) - 5, 10, 10});
  for (const Point& p : points) {
    if (p.high > p.low)
      s += fmt::format("<path class=\"whisker\" d=\"M{0:.1f} {1:.1f}V{2:.1f}M{3:.1f} {1:.1f}H{4:.1f}M{3:.1f} {2:.1f}H{4:.1f}\"/>", px(p.x),
                       py(p.low), py(p.high), px(p.x) - 4, px(p.x) + 4);
    s += fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\"><title>{}: {:.4g}, {:.4g}</title></circle>", p.front ? "s2" : "s0",
                     px(p.x), py(p.y), html_escaped(p.label), p.x, p.y);
    const Box frame = {kLeft, 0, kWidth - kLeft, kHeight - kBottom};
    if (const std::optional<Box> box = place_label(px(p.x), py(p.y), p.label, frame, taken)) {
      taken.push_back(*box);
      s += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", box->x, box->y + 10, html_escaped(p.label));
    }
    s += "\n";
  }
  s += fmt::format("<text class=\"dim\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", (kLeft + kWidth - kRight) / 2, kHeight - 10,
                   html_escaped(x_title));
  return s + fmt::format("<text class=\"dim\" transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n</svg>\n",
                         (kTop + kHeight - kBottom) / 2, html_escaped(y_title));
}

}  // namespace nibble::cli
