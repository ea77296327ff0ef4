// nibble doctor
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/cli.h"
#include "cli/json_text.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

int doctor(const Global& global, const std::string& model, const std::string& calib) {
  const std::string text = calib.empty() ? std::string() : read_file(resolve_data(calib, "calibration.txt"));
  const Runtime runtime = global.make_runtime();
  const Checkpoint checkpoint = global.open_checkpoint(runtime, model);
  const std::string json = checkpoint.examine(text, make_progress(global));
  const Doc doc(json);
  bool failed = false;
  Table table({"check", "status", "detail"});
  for (const auto each : items(doc.root(), "checks")) {
    failed = failed || cli::text(each, "status") == "fail";
    table.add({cli::text(each, "name"), cli::text(each, "status"), cli::text(each, "detail")});
  }
  if (global.tables()) fmt::print("{}", table.text(global.markdown));
  emit_json(global, json);
  return failed ? kAnswerIsNo : kDone;
}

}  // namespace

void add_doctor(const Commands& c) {
  auto* command = c.app.add_subcommand(
      "doctor", "what would spoil a long job: tokenizer, template, NaN, dead channels, calibration, memory, disk");
  auto model = std::make_shared<std::string>();
  auto calib = std::make_shared<std::string>();
  command->add_option("MODEL", *model, "the model")->required();
  command->add_option("--calib", *calib, "the calibration text that is planned: a file, or builtin");
  command->footer("Exit status 1 when a check failed; warnings leave it 0.");
  command->callback([c, model, calib] { c.chosen = [c, model, calib] { return doctor(c.global, *model, *calib); }; });
}

}  // namespace nibble::cli
