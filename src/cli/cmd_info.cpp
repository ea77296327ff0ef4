// nibble info, nibble inspect: what the library can do, and what a checkpoint is.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/cli.h"
#include "cli/json_text.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

std::string joined(const simdjson::dom::array& list, std::string_view key = {}) {
  std::string out;
  for (const auto each : list) {
    const std::string_view value = key.empty() ? each.get_string().value() : each[key].get_string().value();
    out += (out.empty() ? "" : ", ") + std::string(value);
  }
  return out;
}

void print_limits(const Global& global, const Doc::Element& limits) {
  struct Row {
    const char *key, *name, *unit;
  };
  Table table({"limit", "one thread", fmt::format("{} threads", integer(limits, "threads")), "unit"});
  for (const Row& row : {Row{"dram_read", "memory read", "GB/s"}, Row{"l2_read", "L2 read", "GB/s"},
                         Row{"f32_fma", "float32 fused multiply-add", "Gop/s"},
                         Row{"int8_dot", "int8 dot products", "Gop/s"}, Row{"bf16_dot", "bf16 dot products", "Gop/s"},
                         Row{"amx_int8", "AMX int8", "Gop/s"}, Row{"amx_bf16", "AMX bf16", "Gop/s"}}) {
    if (!has(limits, row.key)) continue;
    const auto measured = limits[row.key].value();
    table.add({row.name, fmt::format("{:.1f}", number(measured, "one") / 1e9),
               fmt::format("{:.1f}", number(measured, "team") / 1e9), row.unit});
  }
  fmt::print("\n{}", table.text(global.markdown));
  if (flag(limits, "disturbed")) fmt::print("\nDisturbed: other programs ran meanwhile, the machine can do more than this.\n");
}

int info(const Global& global, bool measure) {
  const Runtime runtime = global.make_runtime();
  std::string json = runtime.info();
  if (measure) {
    const Doc info(json), measured(runtime.measure_limits());
    ObjectText limits, out;
    for (const auto [key, value] : members(info.root(), "limits")) limits.set_raw(key, minified(value));
    for (const auto [key, value] : members(measured.root())) {
      if (key != "nibble_version" && key != "machine") limits.set_raw(key, minified(value));
    }
    for (const auto [key, value] : members(info.root())) {
      out.set_raw(key, key == "limits" ? limits.text() : minified(value));
    }
    json = indented(out.text());
  }
  if (global.tables()) {
    const Doc doc(json);
    const auto& j = doc.root();
    const auto machine = j["machine"].value();
    fmt::print("nibble {}\n\n", text(j, "nibble_version"));
    fmt::print("processor      {}, {} threads of {} processors\n", text(machine, "cpu"), integer(j, "threads"),
               integer(machine, "processors"));
    fmt::print("memory         {:.1f} GB\n", static_cast<double>(integer(machine, "memory_bytes")) / 1e9);
    fmt::print("isa            {} (usable: {})\n", text(j, "isa"), joined(items(j, "isa_available")));
    fmt::print("formats        {}\n", joined(items(j, "dialects"), "id"));
    fmt::print("architectures  {}\n", joined(items(j, "architectures"), "id"));
    fmt::print("protocols      {}\n", joined(items(j, "protocols"), "id"));
    fmt::print("tasks          {}\n\n", joined(items(j, "tasks"), "id"));
    Table methods({"method", "bits", "calibration", "what it does"});
    for (const auto m : items(j, "methods")) {
      methods.add({text(m, "id"), fmt::format("{:.2f}", number(m, "nominal_bits")),
                   flag(m, "needs_calibration") ? "yes" : "no", text(m, "summary")});
    }
    fmt::print("{}", methods.text(global.markdown));
    if (measure) print_limits(global, j["limits"].value());
  }
  emit_json(global, json);
  return kDone;
}

/// The options of one method, as a table.
int method_options(const Global& global, const std::string& id) {
  const Doc doc(nbl_methods_json());
  for (const auto m : elements(doc.root())) {
    if (text(m, "id") != id) continue;
    if (global.tables()) {
      fmt::print("{}: {}\n\n", id, text(m, "summary"));
      Table table({"option", "default", "allowed", "what it does"});
      for (const auto o : items(m, "options")) {
        std::string allowed = text(o, "type");
        if (has(o, "choices")) allowed = joined(items(o, "choices"));
        if (has(o, "min")) {
          const std::string words = has(o, "choices") ? fmt::format(" or {}", allowed) : std::string();
          allowed = fmt::format("{} to {}{}", number(o, "min"), number(o, "max"), words);
        }
        table.add({text(o, "name"), text(o, "default"), allowed, text(o, "help")});
      }
      fmt::print("{}", table.text(global.markdown));
    }
    emit_json(global, indented(minified(m)));
    return kDone;
  }
  throw Failure(kUsage, fmt::format("there is no command and no method \"{}\"; `nibble help` and `nibble info` list them", id));
}

struct InspectArgs {
  std::string model;
  bool tensors = false, hash = false;
};

int inspect(const Global& global, const InspectArgs& args) {
  const Runtime runtime = global.make_runtime();
  const Checkpoint checkpoint = global.open_checkpoint(runtime, args.model);
  const uint32_t flags = (args.tensors || args.hash || !global.json.empty() ? uint32_t{NBL_INSPECT_TENSORS} : 0u) |
                         (args.hash ? uint32_t{NBL_INSPECT_HASH} : 0u);
  const std::string json = checkpoint.inspect(flags);
  if (global.tables()) {
    const Doc doc(json);
    const auto& j = doc.root();
    fmt::print(
        "format           {}\narchitecture     {}\nparameters       {:.2f} M\nfile             {:.2f} MB\nbits per "
        "weight  {:.3f}\n",
        text(j, "format"), plain(text(j, "architecture", "unknown")), static_cast<double>(integer(j, "parameters")) / 1e6,
        static_cast<double>(integer(j, "file_bytes")) / 1e6, number(j, "bits_per_weight"));
    for (const auto w : items(j, "warnings")) fmt::print("warning          {}\n", plain(w.get_string().value()));
    if (args.tensors || args.hash) {
      std::vector<std::string> header{"tensor", "shape", "encoding", "bits", "bytes"};
      if (args.hash) header.push_back("sha256");
      Table table(header);
      for (const auto t : items(j, "tensors")) {
        std::string shape;
        for (const auto d : items(t, "shape"))
          shape += fmt::format("{}{}", shape.empty() ? "" : " x ", d.get_int64().value());
        std::vector<std::string> row{text(t, "name"), shape, text(t, "encoding"),
                                     fmt::format("{:.3f}", number(t, "bits")), fmt::format("{}", integer(t, "bytes"))};
        if (args.hash) row.push_back(text(t, "sha256"));
        table.add(row);
      }
      fmt::print("\n{}", table.text(global.markdown));
    }
  }
  emit_json(global, json);
  return kDone;
}

}  // namespace

void add_info(const Commands& c) {
  auto* command =
      c.app.add_subcommand("info", "this machine and what the library can do; or the options of one METHOD");
  auto method = std::make_shared<std::string>();
  auto measure = std::make_shared<bool>(false);
  command->add_option("METHOD", *method, "a quantization method");
  command->add_flag("--measure", *measure, "measure what the machine can do at most: memory and arithmetic");
  command->callback([c, method, measure] {
    c.chosen = [c, method, measure] {
      return method->empty() ? info(c.global, *measure) : method_options(c.global, *method);
    };
  });
}

void add_help(const Commands& c) {
  auto* command = c.app.add_subcommand("help", "a command's options, or those of a quantization method");
  auto name = std::make_shared<std::string>();
  command->add_option("NAME", *name, "a command or a method; without one, everything that there is");
  command->callback([c, name] {
    c.chosen = [c, name] {
      const auto named = c.app.get_subcommands([&](const CLI::App* each) { return each->get_name() == *name; });
      if (!name->empty() && named.empty()) return method_options(c.global, *name);
      const CLI::App* asked = name->empty() ? &c.app : named.front();
      // Not App::help(): that would show the command which is running.
      const std::string shown = name->empty() ? "nibble" : "nibble " + *name;
      fmt::print("{}", c.app.get_formatter()->make_help(asked, shown, CLI::AppFormatMode::Normal));
      return static_cast<int>(kDone);
    };
  });
}

void add_inspect(const Commands& c) {
  auto* command = c.app.add_subcommand("inspect", "what a checkpoint is, tensor by tensor");
  auto args = std::make_shared<InspectArgs>();
  command->add_option("MODEL", args->model, "the checkpoint")->required();
  command->add_flag("--tensors", args->tensors, "list every tensor");
  command->add_flag("--hash", args->hash, "with the SHA-256 of each");
  command->callback([c, args] { c.chosen = [c, args] { return inspect(c.global, *args); }; });
}

}  // namespace nibble::cli
