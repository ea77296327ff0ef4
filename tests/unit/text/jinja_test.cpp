// Templates against what jinja2 and transformers made of them (tests/golden/chat), and templates that mean harm.
#include "text/jinja.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "shared_data.h"
#include "support/cpu_time.h"
#include "support/sanitizers.h"
#include "text/chat_template.h"

namespace nbl::text {
namespace {

std::filesystem::path golden_dir() { return std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests" / "golden" / "chat"; }

const Json& golden() {
  static const Json json = Json::parse(testing::read_file(golden_dir() / "golden.json"), "golden.json").value();
  return json;
}

Result<std::string> render(std::string_view source, const Json& variables) {
  NBL_ASSIGN(const Template made, Template::compile(source, "the template", chat_template_options()));
  return made.render(variables);
}

TEST(Jinja, GivesWhatJinja2Gives) {
  ASSERT_GT(golden().find("rendered")->size(), 350u);
  for (const Json& each : golden().find("rendered")->elements()) {
    const std::string source(each.find("template")->as_string());
    const auto text = render(source, *golden().find("values"));
    ASSERT_TRUE(text.ok()) << source << "\n" << text.status().message();
    EXPECT_EQ(*text, each.find("text")->as_string()) << source;
  }
}

TEST(Jinja, RefusesWhatJinja2RefusesAndSaysWhere) {
  for (const Json& each : golden().find("failures")->elements()) {
    const std::string source(each.find("template")->as_string());
    const auto text = render(source, *golden().find("values"));
    ASSERT_FALSE(text.ok()) << source << "\n" << *text;
    EXPECT_NE(text.status().message().find("the template: line "), std::string::npos) << text.status().message();
    EXPECT_NE(text.status().message().find(each.find("words")->as_string()), std::string::npos)
        << source << "\n"
        << text.status().message();
  }
}

TEST(Jinja, ChatTemplatesGiveWhatTransformersGives) {
  const Json& conversations = *golden().find("conversations");
  int texts = 0;
  for (const Json& each : golden().find("chats")->elements()) {
    ChatTemplates chat;
    chat.add("default", testing::read_file(golden_dir() / "templates" / each.find("template")->as_string()));
    for (const auto& [name, token] : golden().find("specials")->members()) {
      chat.set_special(name, std::string(token.as_string()));
    }
    const auto text =
        chat.apply(*conversations.find(each.find("conversation")->as_string()),
                   each.find("tools")->as_bool() ? *golden().find("tools") : Json(), *each.find("settings"));
    const Json* want = each.find("text");
    ASSERT_EQ(text.ok(), want != nullptr) << each.dump() << (text.ok() ? *text : text.status().message());
    if (want == nullptr) continue;
    EXPECT_EQ(*text, want->as_string()) << each.dump();
    ++texts;
  }
  EXPECT_GT(texts, 200);
}

TEST(Jinja, OptionsAndHostFilters) {
  const Json values = Json::parse(R"({"x": "a1b2", "l": [1]})", "values").value();
  TemplateOptions options;
  EXPECT_EQ(Template::compile("{% if true %}\nx\n{% endif %}\n", "t", options)->render(values).value(), "\nx\n");
  options.keep_trailing_newline = true;
  EXPECT_EQ(Template::compile("{% if true %}\nx\n{% endif %}\n", "t", options)->render(values).value(), "\nx\n\n");
  options.filters["twice"] = [](const Json& value, std::span<const Json> arguments) -> Result<Json> {
    return Json(std::string(value.as_string()) + std::string(arguments.empty() ? "" : arguments[0].as_string()) +
                std::string(value.as_string()));
  };
  EXPECT_EQ(Template::compile("{{ x|twice('-') }}{{ ['q']|map('twice')|join }}", "t", options)->render(values).value(),
            "a1b2-a1b2qq");
  options.strict_undefined = true;
  EXPECT_FALSE(Template::compile("{{ missing }}", "t", options)->render(values).ok());
  EXPECT_FALSE(Template::compile("{% if missing %}{% endif %}", "t", options)->render(values).ok());
  EXPECT_EQ(
      Template::compile("{{ missing is defined }}{{ missing|default('d') }}", "t", options)->render(values).value(),
      "Falsed");
}

TEST(Jinja, TheTimeIsTheCallers) {
  std::tm now{};
  now.tm_year = 124;
  now.tm_mon = 6;
  now.tm_mday = 26;
  const auto made = Template::compile("{{ strftime_now('%d %b %Y') }}|{{ strftime_now('') }}", "t");
  EXPECT_EQ(made->render(Json::object(), now).value(), "26 Jul 2024|");
}

std::string repeated(std::string_view part, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += part;
  return out;
}

// Each is refused with the limit that it meets, in a moment.
TEST(Jinja, HostileTemplatesEndSoon) {
  const std::string doubling =
      "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}";
  const std::pair<std::string, const char*> cases[] = {
      {"{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", "more than"},
      {"{% for a in range(100000) %}{% for b in 'abcdefghij' * 100 %}{% endfor %}{% endfor %}", "more than"},
      {"{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "more than"},
      {doubling + "{{ ns.s }}", "more than"},
      {doubling + "{{ ns.s|tojson }}", "more than"},
      {doubling + "{{ ns.s == ns.s + [] }}{{ ns.s < ns.s }}", "more than"},
      {"{% set ns = namespace(s=[]) %}{% for i in range(1000) %}{% set ns.s = [ns.s] %}{% endfor %}", "nested deeper"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recurses deeper"},
      {"{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}", "recurses deeper"},
      {"{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}", "recurses deeper"},
      {"{{ 'x' * 1000000000000 }}", "more than"},
      {"{{ [1] * 1000000000000 }}", "more than"},
      {"{{ 9999999999 ** 9999999999 }}", "64 bits"},
      {"{{ '%1000000000d' % 1 }}", "width"},
      {"{{ '{:1000000000}'.format(1) }}", "width"},
      {"{{ 'a'.center(10000000000) }}", "more than"},
      {"{{ 'a'|indent(100000000) }}", "more than"},
      {doubling + "{{ ns.s|pprint }}", "more than"},
      {"{{ '\t'.expandtabs(100000000) }}", "more than"},
      {"{% for i in range(1000) %}{{ ('x-' * 200000)|wordwrap(1) }}{% endfor %}", "more than"},
      {"{% for i in range(1000) %}{{ ('<a.b@' * 200000)|urlize|striptags }}{% endfor %}", ""},
      {"{{ " + std::string(100000, '(') + "1" + std::string(100000, ')') + " }}", "nested deeper"},
      {"{{ " + std::string(100000, '-') + "1 }}", "nested deeper"},
      {"{{ " + repeated("not ", 100000) + "1 }}", "nested deeper"},
      {"{{ " + repeated("1+", 100000) + "1 }}", "nested deeper"},
      {"{{ x" + repeated(".x", 100000) + " }}", "nested deeper"},
      {"{{ x" + repeated("|trim", 100000) + " }}", "nested deeper"},
      {"{{ x" + repeated("(1)", 100000) + " }}", "nested deeper"},
      {repeated("{% if 1 %}", 100000), "nested deeper"},
      {std::string(std::size_t{5} << 20, 'x'), "bytes"},
      {"\xC3(", "UTF-8"},
  };
  for (const auto& [source, words] : cases) {
    const double start = cpu_seconds();
    const auto text = render(source, Json::object());
    const double seconds = cpu_seconds() - start;
    ASSERT_FALSE(text.ok()) << source.substr(0, 100);
    EXPECT_NE(text.status().message().find(words), std::string::npos) << source.substr(0, 100) << "\n"
                                                                      << text.status().message();
    EXPECT_LT(seconds, nbl::testing::kSanitizerSlowdown * 20.0) << source.substr(0, 100);
  }
}

// Each place that asks for steps or memory hands the refusal on; none goes on with half a value.
TEST(Jinja, ABudgetTooSmallIsAnErrorWhereverItEnds) {
  const Json& values = *golden().find("values");
  const auto rendered = [&](const std::string& source, int64_t TemplateLimits::*budget, int64_t n) {
    TemplateOptions options = chat_template_options();
    options.limits.*budget = n;
    return Template::compile(source, "the template", options)->render(values);
  };
  // The least that is enough. Memory counts from what the values take, so that its limit may lie below 0.
  const auto least = [&](const std::string& source, int64_t TemplateLimits::*budget) {
    int64_t fails = -(int64_t{1} << 30), fits = int64_t{1} << 30;
    while (fits - fails > 1) {
      const int64_t middle = fails + (fits - fails) / 2;
      (rendered(source, budget, middle).ok() ? fits : fails) = middle;
    }
    return fits;
  };
  constexpr int64_t kRounds = 60 / nbl::testing::kSanitizerSlowdown;
  int64_t refused = 0;
  for (const auto& [budget, words] : {std::pair(&TemplateLimits::max_steps, "steps"), std::pair(&TemplateLimits::max_memory_bytes, "of values")}) {
    const int64_t nothing = least("{{ 'a' ~ 'b' }}", budget) - 2;
    for (const Json& each : golden().find("rendered")->elements()) {
      const std::string source(each.find("template")->as_string());
      const int64_t enough = least(source, budget);
      EXPECT_EQ(rendered(source, budget, enough).value(), each.find("text")->as_string()) << source;
      const int64_t step = std::max<int64_t>(1, (enough - nothing) / kRounds);
      for (int64_t n = nothing; n < enough; n += step) {
        const auto got = rendered(source, budget, n);
        if (got.ok()) {  // refusals that the template itself asks about change nothing else
          EXPECT_EQ(*got, each.find("text")->as_string()) << source;
          continue;
        }
        ++refused;
        EXPECT_EQ(got.status().code(), Code::limit) << source << "\n" << got.status().message();
        EXPECT_NE(got.status().message().find(words), std::string::npos) << source << "\n" << got.status().message();
      }
    }
  }
  EXPECT_GT(refused, 5000 / nbl::testing::kSanitizerSlowdown);
}

TEST(Jinja, ALongMessageFits) {
  Json values = Json::object();
  Json messages = Json::array();
  messages.push_back(Json::object({{"role", "user"}, {"content", std::string(10'000'000, 'x')}}));
  values.set("messages", messages);
  const auto text =
      render("{% for m in messages %}<{{ m.role }}>{{ m.content|trim }}</{{ m.role }}>{% endfor %}", values);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(text->size(), 10'000'013u);
}

TEST(Jinja, ObjectsThatHoldThemselvesAreFreed) {
  EXPECT_EQ(render("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{% set a.me = a %}ok",
                   Json::object())
                .value(),
            "ok");
}

}  // namespace
}  // namespace nbl::text
