// FLORES-200 (NLLB team, 2022): translation of aligned sentences. BLEU on the tokens that sacreBLEU takes for the target language
// (characters for Chinese), chrF++, and spBLEU (Goyal et al., 2022): BLEU on the pieces of a sentencepiece model, sacreBLEU's
// tokenizers flores200 and flores101, whose files are published apart.
#include <array>

#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

struct Language {
  const char *code, *file, *name;
};
constexpr std::array<Language, 3> kLanguages = {
    {{"en", "eng_Latn", "English"}, {"de", "deu_Latn", "German"}, {"zh", "zho_Hans", "Chinese"}}};

std::vector<Translation> corpus_of(std::span<const MetricValue> values) {
  std::vector<Translation> corpus;
  for (const MetricValue& v : values) corpus.push_back({v.prediction, v.references});
  return corpus;
}
double bleu_zh(std::span<const MetricValue> values) { return corpus_bleu(corpus_of(values), tokenize_zh); }
const Aggregation kBleuZh = {"bleu_zh", bleu_zh, StderrKind::bootstrap};

}  // namespace

void flores_tasks(TaskList& list) {
  TaskGroup group;
  group.id = "flores";
  group.metrics = {"bleu,none", "chrf++,none", "spbleu,none"};
  group.weight_by_size = false;
  for (const Language& from : kLanguages) {
    for (const Language& to : kLanguages) {
      if (std::string_view(from.code) == to.code) continue;
      Task t;
      t.id = std::string("flores_") + from.code + "-" + to.code;
      t.summary = std::string(from.name) + " to " + to.name + " (FLORES-200): BLEU on " +
                  (std::string_view(to.code) == "zh" ? "characters" : "13a words") + ", chrF++; spBLEU where its sentencepiece model is";
      t.output = Output::generate;
      t.data_is_aligned = true;
      t.data = {{std::string("flores/") + from.file + ".devtest"}, {std::string("flores/") + to.file + ".devtest"}};
      t.pieces = {{"spbleu", "flores/flores200_sacrebleu_tokenizer_spm.model"},
                  {"spbleu_flores101", "flores/sacrebleu_tokenizer_spm.model"}};
      t.fewshot = {{std::string("flores/") + from.file + ".dev"}, {std::string("flores/") + to.file + ".dev"}};
      t.text = [source = std::string(from.name), target = std::string(to.name)](Fields& f) {
        return source + " sentence: " + f.text("0") + "\n" + target + " sentence:";
      };
      t.target = [](Fields& f) { return f.text("1"); };
      t.generation.until = {"\n"};
      t.judge = [](Fields& f, const Answer& answer, MetricSink& out) {
        for (const char* metric : {"bleu", "chrf", "chrf++"}) out.add(metric, {f.text("1")}, stripped(answer.text));
        if (const Status status = out.add_pieces(f.text("1"), stripped(answer.text)); !status.ok()) f.fail(status.message());
      };
      t.metrics = {{"bleu", std::string_view(to.code) == "zh" ? &kBleuZh : &kBleu, true},
                   {"chrf", &kChrf, true},
                   {"chrf++", &kChrfPlusPlus, true},
                   {"spbleu", &kPieceBleu, true},
                   {"spbleu_flores101", &kPieceBleu, true}};
      group.members.push_back(t.id);
      list.tasks.push_back(std::move(t));
    }
  }
  list.groups.push_back(std::move(group));
}

}  // namespace nbl::eval
