// nibble convert
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/cli.h"
#include "cli/json_text.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

constexpr std::size_t kShown = 5;  // refusals on stderr: usually all for one reason

struct Args {
  std::string model, output, format, measured;
  bool allow_lossy = false, verify = false;
};

void print_report(const Global& global, const Doc::Element& j, const Args& args) {
  if (items(j, "requantized").size() > 0) {
    Table table({"quantized anew", "as", "largest difference", "relative error"});
    for (const auto r : items(j, "requantized")) {
      table.add({text(r, "name"), text(r, "encoding"), fmt::format("{:.3e}", number(r, "max_abs_difference")),
                 fmt::format("{:.3e}", number(r, "relative_error"))});
    }
    fmt::print("{}\n", table.text(global.markdown));
  }
  for (const auto d : items(j, "differences")) fmt::print("{}\n", d.get_string().value());
  if (!flag(j, "written")) {
    fmt::print("nothing was written: {} of {} tensors cannot be held by {}\n", items(j, "refused").size(),
               integer(j, "tensors"), args.format);
    return;
  }
  std::string checked;
  if (args.verify) {
    checked = fmt::format(", {} of {} tensors compared, largest difference {:.3g}", integer(j, "tensors_checked"),
                          integer(j, "tensors"), number(j, "max_abs_difference"));
  }
  fmt::print("{}: {} to {}, {:.2f} MB in {:.1f} s{}\n{}\n", flag(j, "lossless") ? "lossless" : "NOT lossless",
             text(j, "source_format"), text(j, "format"), static_cast<double>(integer(j, "file_bytes")) / 1e6,
             number(j, "seconds"), checked, args.output);
}

int convert(const Global& global, const Args& given) {
  Args args = given;
  args.format = output_format(given.format, given.output);
  const Runtime runtime = global.make_runtime();
  Checkpoint input = global.open_checkpoint(runtime, args.model);
  if (!args.measured.empty()) use_file(args.measured, [&](const std::string& json) { input.set_measured(json); });
  const uint32_t flags = (args.allow_lossy ? uint32_t{NBL_CONVERT_ALLOW_LOSSY} : 0u) |
                         (args.verify ? uint32_t{NBL_CONVERT_VERIFY} : 0u);
  bool ok = false;
  const std::string json = input.convert(args.output, args.format, flags, make_progress(global), &ok);
  const Doc doc(json);
  std::size_t shown = 0;
  const auto refused = items(doc.root(), "refused");
  for (const auto each : refused) {
    if (++shown > kShown) break;
    fmt::print(stderr, "nibble: refused: {}\n", each.get_string().value());
  }
  if (refused.size() > kShown) fmt::print(stderr, "nibble: refused: {} more (--json has all)\n", refused.size() - kShown);
  if (global.tables()) print_report(global, doc.root(), args);
  emit_json(global, json);
  return ok ? kDone : kAnswerIsNo;
}

}  // namespace

void add_convert(const Commands& c) {
  auto* command = c.app.add_subcommand("convert", "write MODEL in another format, the same numbers to the bit");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model, "the checkpoint")->required();
  command->add_option("-o,--output", args->output, "the file or directory to write")->required();
  command->add_option("--format", args->format, "format of the output, see `nibble info` (default: gguf for a name that ends so, else native)");
  command->add_option("--measured", args->measured,
                      "JSON of perplexity, compare, eval or sweep: its figures go into the model card")
      ->type_name("FILE");
  command->add_flag("--allow-lossy", args->allow_lossy,
                    "quantize anew what the format cannot hold, and report the error, instead of refusing");
  command->add_flag("--verify", args->verify, "reopen the output and compare every tensor with the original's");
  command->callback([c, args] { c.chosen = [c, args] { return convert(c.global, *args); }; });
}

}  // namespace nibble::cli
