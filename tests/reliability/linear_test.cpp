// Reading is linear: eight times the input takes about eight times as long, whatever the input's shape. Shapes are those that the
// quadratic mistake of each reader would need.
#include <gtest/gtest.h>
#include <malloc.h>

#include <climits>
#include <functional>
#include <string>

#include "base/json.h"
#include "eval/fields.h"
#include "eval/yaml.h"
#include "io/container.h"
#include "model/grammar.h"
#include "support/cpu_time.h"
#include "support/sanitizers.h"
#include "support/temp_dir.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace nbl {
namespace {

/// Seconds of this thread for one call; the least of a few, as disturbances only add.
double least_seconds(const std::function<void()>& call, int times) {
  double best = 1e9;
  for (int i = 0; i < times; ++i) {
    const double start = cpu_seconds();
    call();
    best = std::min(best, cpu_seconds() - start);
  }
  return best;
}

struct Case {
  const char* name;
  std::size_t size;                                 // of the small input, in repetitions
  std::function<std::string(std::size_t)> input;    // of n repetitions
  std::function<void(const std::string&)> read;
  double most = 20;  // linear is 8, n log n below 11, quadratic 64
};

std::string repeat(std::string_view text, std::size_t n) {
  std::string out;
  out.reserve(text.size() * n);
  for (std::size_t i = 0; i < n; ++i) out += text;
  return out;
}

std::string numbered(std::size_t n, std::string_view before, std::string_view after, std::string_view between) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) {
    if (i > 0) out += between;
    out += before;
    out += std::to_string(i);
    out += after;
  }
  return out;
}

std::string vocabulary(std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += (i > 0 ? ",\"t" : "\"t") + std::to_string(i) + "\":" + std::to_string(i);
  return out;
}

void json(const std::string& text) { (void)Json::parse(text, "input"); }
void tokenizer_json(const std::string& text) { (void)text::load_tokenizer_json(text, {}, "input"); }
void gbnf(const std::string& text) { (void)model::parse_gbnf(text); }
void schema(const std::string& text) { (void)model::grammar_from_schema(text); }
void yaml(const std::string& text) { (void)eval::parse_yaml(text, "input"); }
void csv(const std::string& text) { (void)eval::read_csv(text, "input"); }
void jsonl(const std::string& text) { (void)eval::read_jsonl(text, "input"); }
void safetensors(const std::string& header) {
  static const test::TempDir folder;
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i) & 255);
  (void)io::open_safetensors(folder.write("x.safetensors", file + header));
}
void render(const std::string& text) {
  const auto made = text::Template::compile(text, "input", text::chat_template_options());
  if (made.ok()) (void)made->render(Json::object({{"x", "y"}}), std::tm{});
}

/// Encodes with a byte-level BPE that has merges to try, whatever the text.
void encode(const std::string& text) {
  static const auto tokenizer = [] {
    std::string vocab, merges;
    for (int i = 0; i < 26; ++i) vocab += std::string(i > 0 ? "," : "") + "\"" + static_cast<char>('a' + i) + "\":" + std::to_string(i);
    vocab += ",\"aa\":26,\"aaaa\":27,\"ab\":28,\"\\u0120\":29,\"!\":30";
    merges = R"("a a","aa aa","a b")";
    auto made = text::load_tokenizer_json(
        R"({"version":"1.0","added_tokens":[{"id":31,"content":"<ab>","special":true},{"id":32,"content":"<abab","special":true}],)"
        R"("normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
        R"("decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)" + vocab + R"(},"merges":[)" + merges + "]}}",
        {}, "input");
    EXPECT_TRUE(made.ok()) << made.status().message();
    return std::move(made).value();
  }();
  (void)tokenizer->encode(text, {});
}

class Linear : public ::testing::TestWithParam<Case> {};

TEST_P(Linear, EightTimesTheInputTakesAboutEightTimesAsLong) {
#ifdef NBL_UNDER_SANITIZER
  GTEST_SKIP() << "SKIPPED: a sanitizer's own work is not linear";
#endif
  // Memory stays with the process: taking new pages from the system each time would cost more the more there are.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  const Case& c = GetParam();
  const std::string small = c.input(c.size), large = c.input(8 * c.size);
  double ratio = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {  // a disturbed machine gets another chance; a quadratic reader fails each
    const double one = least_seconds([&] { c.read(small); }, 3), eight = least_seconds([&] { c.read(large); }, 2);
    ratio = eight / std::max(one, 1e-5);
    std::printf("%s: %zu bytes %.2f ms, %zu bytes %.2f ms: %.1f times\n", c.name, small.size(), 1e3 * one, large.size(), 1e3 * eight, ratio);
    if (ratio < c.most) break;
  }
  EXPECT_LT(ratio, c.most) << "linear is 8, n log n below 11, quadratic 64";
}

INSTANTIATE_TEST_SUITE_P(
    All, Linear,
    ::testing::Values(
        Case{"json_numbers", 100000, [](std::size_t n) { return "[" + numbered(n, "", "", ",") + "]"; }, json},
        Case{"json_members", 60000, [](std::size_t n) { return "{" + numbered(n, "\"k", "\":1", ",") + "}"; }, json, 45},  // the table of keys outgrows the caches
        Case{"json_long_string", 100000, [](std::size_t n) { return "\"" + repeat("\\u00e9", n) + "\""; }, json},
        Case{"json_damaged_at_its_end", 20000, [](std::size_t n) { return "[" + numbered(n, "", "", ",\n") + ",]"; }, json},
        Case{"json_integers_too_long", 2000, [](std::size_t n) { return "[" + numbered(n, "1000000000000000000000000", "", ",") + "]"; }, json},
        Case{"safetensors_tensors", 3000, [](std::size_t n) { return "{" + numbered(n, "\"t", R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})", ",") + "}"; }, safetensors},
        Case{"tokenizer_vocabulary", 10000, [](std::size_t n) { return R"({"model":{"type":"BPE","merges":[],"vocab":{)" + vocabulary(n) + "}}}"; }, tokenizer_json, 45},
        Case{"tokenizer_added", 3000, [](std::size_t n) { return R"({"added_tokens":[)" + numbered(n, R"({"content":"<a>","special":true,"id":)", "}", ",") + R"(],"model":{"type":"BPE","merges":[],"vocab":{}}})"; }, tokenizer_json},
        Case{"gbnf_alternatives", 3000, [](std::size_t n) { return "root ::= " + numbered(n, "\"a", "\"", " | "); }, gbnf},
        Case{"gbnf_rules", 2000, [](std::size_t n) { return "root ::= \"x\"\n" + numbered(n, "r", " ::= \"a\" root?\n", ""); }, gbnf},
        Case{"gbnf_class", 5000, [](std::size_t n) { return "root ::= [" + repeat("a-c", n) + "]"; }, gbnf},
        Case{"schema_properties", 400, [](std::size_t n) { return R"({"type":"object","properties":{)" + numbered(n, "\"p", R"(":{"type":"integer"})", ",") + "}}"; }, schema},
        Case{"schema_long_name", 1000, [](std::size_t n) { return R"({"additionalProperties":true,"properties":{")" + repeat("a", n) + R"(":true}})"; }, schema},
        Case{"schema_enum", 4000, [](std::size_t n) { return "{\"enum\":[" + numbered(n, "", "", ",") + "]}"; }, schema},
        Case{"yaml_lines", 5000, [](std::size_t n) { return numbered(n, "k", ": v\n", ""); }, yaml},
        Case{"yaml_block", 100000, [](std::size_t n) { return "k: |\n" + repeat("  text\n", n); }, yaml},
        Case{"yaml_flow", 20000, [](std::size_t n) { return "k: [\n" + repeat("  a, 'b',\n", n) + "]\n"; }, yaml},
        Case{"yaml_flow_open", 20000, [](std::size_t n) { return "k: [\n" + repeat("  a,\n", n); }, yaml},
        Case{"yaml_quote", 20000, [](std::size_t n) { return "k: \"\n" + repeat("  text\n", n) + "\"\n"; }, yaml},
        Case{"yaml_quote_open", 20000, [](std::size_t n) { return "k: '\n" + repeat("  text\n", n); }, yaml},
        Case{"yaml_blank", 40000, [](std::size_t n) { return "k: v\n" + repeat("\n", n) + "  w\n"; }, yaml},
        Case{"yaml_comments", 40000, [](std::size_t n) { return "k: v\n" + repeat("# c\n", n) + "l: w\n"; }, yaml},
        Case{"yaml_list", 5000, [](std::size_t n) { return "k:\n" + repeat("  - [a, b]\n", n); }, yaml},
        Case{"csv_rows", 5000, [](std::size_t n) { return "a,b\n" + repeat("1,2\n", n); }, csv},
        Case{"csv_one_quoted_cell", 200000, [](std::size_t n) { return "a\n\"" + repeat("x\"\"\n", n) + "\"\n"; }, csv},
        Case{"csv_open_quote", 200000, [](std::size_t n) { return "a\n\"" + repeat("x\n", n); }, csv},
        Case{"jsonl_lines", 5000, [](std::size_t n) { return repeat("{\"a\":1}\n", n); }, jsonl},
        Case{"template_outputs", 6000, [](std::size_t n) { return repeat("{{ x }}text{# c #}", n); }, render},
        Case{"template_text", 50000, [](std::size_t n) { return repeat("text \n", n); }, render},
        Case{"template_appends", 1000, [](std::size_t n) { return "{% set ns = namespace(s='') %}" + repeat("{{ x ~ 'y' }}{% if x %}a{% endif %}", n); }, render},
        Case{"encode_one_word", 20000, [](std::size_t n) { return repeat("a", n); }, encode},
        Case{"encode_words", 20000, [](std::size_t n) { return repeat("aab ", n); }, encode},
        Case{"encode_spaces", 50000, [](std::size_t n) { return repeat(" ", n); }, encode},
        Case{"encode_almost_added", 20000, [](std::size_t n) { return repeat("<aba", n); }, encode}),
    [](const ::testing::TestParamInfo<Case>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace nbl
