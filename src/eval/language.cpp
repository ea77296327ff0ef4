// Which language a text is in, and where its sentences end: by scripts, by the commonest words, by punctuation. Enough for the
// instructions of IFEval; no statistics of letters, which would need tables of their own.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "eval/characters.h"
#include "eval/ifeval.h"
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

struct Script {
  char32_t first, last;
  std::string_view name;
};
constexpr std::array<Script, 28> kScripts = {{
    {0x41, 0x5a, "Latn"},      {0x61, 0x7a, "Latn"},      {0xc0, 0x24f, "Latn"},     {0x1e00, 0x1eff, "Latn"},
    {0x370, 0x3ff, "el"},      {0x400, 0x52f, "Cyrl"},    {0x530, 0x58f, "hy"},      {0x590, 0x5ff, "he"},
    {0x600, 0x6ff, "Arab"},    {0x750, 0x77f, "Arab"},    {0xfb50, 0xfdff, "Arab"},  {0x900, 0x97f, "Deva"},
    {0x980, 0x9ff, "bn"},      {0xa00, 0xa7f, "pa"},      {0xa80, 0xaff, "gu"},      {0xb80, 0xbff, "ta"},
    {0xc00, 0xc7f, "te"},      {0xc80, 0xcff, "kn"},      {0xd00, 0xd7f, "ml"},      {0xe00, 0xe7f, "th"},
    {0x10a0, 0x10ff, "ka"},    {0x1100, 0x11ff, "ko"},    {0xac00, 0xd7af, "ko"},    {0x3040, 0x30ff, "ja"},
    {0x4e00, 0x9fff, "Han"},   {0x3400, 0x4dbf, "Han"},   {0x1780, 0x17ff, "km"},    {0xd80, 0xdff, "si"},
}};

std::string_view script_of(char32_t c) {
  for (const Script& s : kScripts)
    if (c >= s.first && c <= s.last) return s.name;
  return {};
}

struct Words {
  std::string_view script, language, words;
};
/// The commonest short words, which hardly any text does without.
constexpr std::array<Words, 22> kWords = {{
    {"Latn", "en", "the of and to in is that it for was with as are be this have on you not by or from at an they we"},
    {"Latn", "de", "der die das und ist nicht ein eine zu den von mit sich auf für im dem es ich sie wir auch wie aus bei"},
    {"Latn", "fr", "le la les et est une un des que qui dans pour pas sur avec ce il je vous nous au du plus par sont"},
    {"Latn", "es", "el la los las y es una un que en de por con para no se su lo como más pero del al está son"},
    {"Latn", "pt", "o a os as e é uma um que em de por com para não se seu do da dos das mais mas no na são você"},
    {"Latn", "it", "il la le gli e è una un che di in per con non si lo della del dei sono più ma come nel alla"},
    {"Latn", "nl", "de het een en is van niet dat in op te zijn met voor aan er ook maar om als bij naar wordt"},
    {"Latn", "sv", "och att det som en är på av för med den till inte har jag ett om men de var från"},
    {"Latn", "fi", "ja on ei se että hän en oli ole mutta niin kun tai ovat kuin myös joka voi ovat sen"},
    {"Latn", "sw", "na ya wa kwa ni katika za la hii kama cha kuwa vya hiyo au lakini watu yake ambayo wao sana"},
    {"Latn", "vi", "và là của có không được cho một trong với các này những người để tôi bạn đã khi như từ về"},
    {"Latn", "tr", "ve bir bu için de da ile çok ne olarak daha gibi var ama olan kadar sonra değil ben"},
    {"Latn", "pl", "i w na z się nie to że jest do o jak ale po co tak za od przez dla są może"},
    {"Latn", "ro", "și în de la a cu este nu pe un o care din pentru că sunt mai sau ca au"},
    {"Cyrl", "ru", "и в не на что с как это по но из его то все за от для она он так же вы бы был"},
    {"Cyrl", "bg", "и на да не се в от за е са че с по като до но това си той при които още ще"},
    {"Cyrl", "uk", "і в не на що з як це до та але від за він є про для його так або у які"},
    {"Arab", "ar", "في من على إلى أن هذا التي هو لا ما عن مع هذه كان أو ذلك بعد و كل قد"},
    {"Arab", "fa", "و در به از که این را با است برای آن یک می ها های خود تا شود بر هم شما"},
    {"Arab", "ur", "کے کی میں ہے اور سے کا کو نے ہیں یہ کہ پر ایک اس بھی تھا لیے ہو جو نہیں"},
    {"Deva", "hi", "के है में की और से का को यह हैं कि पर एक भी नहीं इस ने लिए हो जो था"},
    {"Deva", "mr", "आहे आणि या हे मध्ये आहेत तो ते की नाही व एक होते ही मी साठी करून असे त्या"},
}};
constexpr Words kNepali = {"Deva", "ne", "छ र को मा लाई छन् यो हो पनि गर्न भने बाट एक गरेको हुन् छैन तर यस गर्ने"};

std::set<std::string> split_words(std::string_view text) {
  std::set<std::string> result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    result.emplace(text.substr(at, end - at));
    at = end + 1;
  }
  return result;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    const char32_t c = code_point(text, at, &bytes);
    // Vowel signs of Indic scripts are marks, not letters, but belong to words.
    if (is_word_char(c) || (c >= 0x900 && c <= 0xd7f)) {
      word += text.substr(at, bytes);
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

/// The language whose common words fill most of the text, with a letter that only one has as an early hint.
std::string by_words(std::string_view script, const std::vector<std::string>& words) {
  std::string best;
  int64_t most = 0;
  const auto consider = [&](const Words& entry) {
    if (entry.script != script) return;
    const std::set<std::string> common = split_words(entry.words);
    const auto found =
        static_cast<int64_t>(std::count_if(words.begin(), words.end(), [&](const std::string& w) { return common.contains(w); }));
    if (found > most) {
      most = found;
      best = entry.language;
    }
  };
  for (const Words& entry : kWords) consider(entry);
  consider(kNepali);
  if (!best.empty()) return best;
  return script == "Latn" ? "en" : script == "Cyrl" ? "ru" : script == "Arab" ? "ar" : "hi";
}

}  // namespace

std::string detect_language(std::string_view text) {
  std::map<std::string_view, int64_t> scripts;
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    const std::string_view script = script_of(code_point(text, at, &bytes));
    if (!script.empty()) ++scripts[script];
  }
  if (scripts.empty()) return {};
  // A little kana makes Japanese of any number of Han characters.
  if (scripts.contains("ja") && scripts["ja"] * 10 > scripts["Han"]) scripts["ja"] += scripts["Han"];
  const auto most = std::max_element(scripts.begin(), scripts.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most->first == "Han") return "zh-cn";
  if (most->first == "Latn" || most->first == "Cyrl" || most->first == "Arab" || most->first == "Deva")
    return by_words(most->first, words_of(lowered(text)));
  return std::string(most->first);
}

int64_t count_sentences(std::string_view text) {
  static const std::set<std::string> abbreviations =
      split_words("mr mrs ms dr prof st sr jr vs etc e.g i.e u.s u.k u.s.a a.m p.m inc ltd co corp no vol fig dept est gen sen rep gov "
                  "capt lt col sgt jan feb mar apr jun jul aug sep sept oct nov dec ph.d d.c b.c a.d");
  const std::string trimmed = stripped(text);
  if (trimmed.empty()) return 0;
  int64_t sentences = 0;
  bool open = false;  // text since the last end
  for (std::size_t at = 0; at < trimmed.size(); ++at) {
    const char c = trimmed[at];
    if (c != ' ' && c != '\n' && c != '\t' && c != '\r') open = true;
    if (c != '.' && c != '!' && c != '?') continue;
    // Marks and closing quotes that follow belong to the sentence.
    std::size_t end = at + 1;
    while (end < trimmed.size() && std::string_view(".!?\"')]").find(trimmed[end]) != std::string_view::npos) ++end;
    const bool at_space = end < trimmed.size() && is_space(static_cast<unsigned char>(trimmed[end]));
    if (end < trimmed.size() && !at_space) {
      at = end - 1;
      continue;
    }
    if (c == '.' && end == at + 1 && end < trimmed.size()) {
      const std::size_t start = trimmed.find_last_of(" \n\t(\"'", at == 0 ? 0 : at - 1);
      const std::string word = lowered(std::string_view(trimmed).substr(start == std::string::npos ? 0 : start + 1, at - (start == std::string::npos ? 0 : start + 1)));
      const std::size_t next = trimmed.find_first_not_of(" \n\t\r", end);
      std::size_t bytes = 1;
      const bool small = next != std::string::npos && is_lower(code_point(trimmed, next, &bytes));
      const bool initial = word.size() == 1 && word[0] >= 'a' && word[0] <= 'z' && word != "i";
      // A numbered item of a list: "1. Text".
      const bool ordinal = !word.empty() && word.find_first_not_of("0123456789") == std::string::npos &&
                           (start == std::string::npos || trimmed[start] == '\n');
      if (small || initial || ordinal || abbreviations.contains(word)) continue;
    }
    if (open) ++sentences;
    open = false;
    at = end - 1;
  }
  return sentences + (open ? 1 : 0);
}

}  // namespace nbl::eval
