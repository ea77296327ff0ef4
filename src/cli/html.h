// Pieces of the self-contained HTML reports.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nibble::cli {

std::string html_escaped(std::string_view text);
/// <!doctype html> to <body> with the reports' style: light and dark, from phone to desktop.
std::string html_head(std::string_view title);

struct Bar {
  std::string label;
  double value = 0, low = 0, high = 0;  ///< low, high: the whisker; equal: none
};
/// Horizontal bars with whiskers, as SVG; `series` colours bars in turn.
std::string bar_chart(const std::vector<Bar>& bars, std::string_view title, int series);

struct Point {
  double x = 0, y = 0, low = 0, high = 0;  ///< low, high: the whisker of y
  std::string label;
  bool front = false;                      ///< on the Pareto front
};
/// A scatter plot as SVG with whiskers and the Pareto front as a line. log_y: decades.
std::string scatter_plot(const std::vector<Point>& points, const std::string& x_title, const std::string& y_title, bool log_y);

}  // namespace nibble::cli
