#include "text/gguf_pre_tokenizers.h"

#include <fmt/format.h>

#include <array>

#include "text/scanner.h"

namespace nbl::text {
namespace {

// The expressions as the models' own tokenizer.json files have them; a text is cut by one after the other.

constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kThreeDigits = "[0-9][0-9][0-9]";
constexpr std::string_view kBloom =
    " ?[^(\\s|.,!?\xE2\x80\xA6\xE3\x80\x82\xEF\xBC\x8C\xE3\x80\x81\xE0\xA5\xA4\xDB\x94\xD8\x8C)]+";

constexpr std::array kSplitGpt2{kGpt2Pattern};
constexpr std::array kSplitLlama3{kLlama3};
constexpr std::array kSplitQwen2{kQwen2};
constexpr std::array kSplitDigits{kDigit, kGpt2Pattern};
constexpr std::array<std::string_view, 3> kSplitFalcon{R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, kThreeDigits};
constexpr std::array kSplitBloom{kBloom};
constexpr std::array kSplitViking{kBloom, kDigit};
constexpr std::array<std::string_view, 4> kSplitDefault{R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)",
                                                        kThreeDigits};

constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                                     R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                                     R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLineBreak = R"([\r\n])";
constexpr std::string_view kCjk = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr std::string_view kCjkKana = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
// Letters of the scripts that have case.
constexpr std::string_view kCasedWord =
    R"(\s?[)"
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1})"
    R"(\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77})"
    R"(\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D})"
    R"(\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE})"
    R"(\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC})"
    R"(\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E})"
    R"(\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D})"
    R"(\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF})"
    R"(\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F})"
    R"(\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943})"
    R"(]+)";
constexpr std::string_view kDeepseekMarks =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";

constexpr std::string_view kKimi =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kYoutuScripts =
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+)"
    R"(|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr std::string_view kYoutu =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kExaoneMoe =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kJais2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S))"
    R"(|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})";
constexpr std::string_view kSpark =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)";
// Qwen2's without the English contractions.
constexpr std::string_view kUfakzeka =
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Digits in threes from the right.
constexpr std::string_view kThreesFromTheRight = R"(\d{1,3}(?=(?:\d{3})*\b))";

constexpr std::string_view kAsianScripts =
    R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF}\x{E40}-\x{EFF})"
    R"(\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+)";
constexpr std::string_view kMinicpm5 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::array<std::string_view, 3> kSplitAfmoe{R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))", kAsianScripts, kDeepseek3};
constexpr std::array<std::string_view, 2> kSplitMinicpm5{R"(\p{N}{1,3})", kMinicpm5};
constexpr std::array kSplitKimi{kKimi};
constexpr std::array<std::string_view, 2> kSplitSuperbpe{R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"};
constexpr std::array kSplitYoutu{kYoutuScripts, kYoutu};
constexpr std::array kSplitExaoneMoe{kExaoneMoe};
constexpr std::array kSplitJais2{kJais2};
constexpr std::array<std::string_view, 4> kSplitSpark{R"(\p{N}{1,3})", kCjkKana, kSpark, kDigit};
constexpr std::array kSplitUfakzeka{kUfakzeka};
constexpr std::array kSplitTinyAya{kThreesFromTheRight, kGpt4o};
constexpr std::string_view kLines = R"([^\n]+|[\n]+)";
constexpr std::array<std::string_view, 2> kSplitLaguna{kLines, kQwen2};
constexpr std::array kSplitLines{kLines};
constexpr std::array kSplitQwen35{kQwen35};
constexpr std::array kSplitTekken{kTekken};
constexpr std::array kSplitGpt4o{kGpt4o};
constexpr std::array kSplitBailing{kBailing};
constexpr std::array kSplitSeedCoder{kSeedCoder};
constexpr std::array<std::string_view, 3> kSplitDeepseek3{R"(\p{N}{1,3})", kCjkKana, kDeepseek3};
constexpr std::array<std::string_view, 6> kSplitDeepseek{kLineBreak, kCasedWord, kDeepseekMarks,
                                                         R"(\s+$)",  kCjk,       R"(\p{N}+)"};
constexpr std::array<std::string_view, 5> kSplitDeepseekCoder{kLineBreak, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kCjk, kDigit};
constexpr std::array<std::string_view, 6> kSplitChameleon{
    "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", kDigit, R"([\p{P}!-/:-@\[-`{-~])",
    kGpt2Pattern};

constexpr GgufPreTokenizer kNames[] = {
    {"llama-bpe", kSplitLlama3, true, true},
    {"llama3", kSplitLlama3, true, true},
    {"llama-v3", kSplitLlama3, true, true},
    {"falcon3", kSplitLlama3, true, true},
    {"dbrx", kSplitLlama3, false, false},
    {"smaug-bpe", kSplitLlama3, false, false},
    {"chatglm-bpe", kSplitLlama3, false, false},
    {"glm4", kSplitLlama3, true, false},
    {"glm5", kSplitLlama3, true, false},
    {"qwen2", kSplitQwen2, false, false},
    {"stablelm2", kSplitQwen2, false, false},
    {"deepseek-r1-qwen", kSplitQwen2, false, false},
    {"megrez", kSplitQwen2, false, false},
    {"gpt-2", kSplitGpt2, false, false},
    {"phi-2", kSplitGpt2, false, false},
    {"mpt", kSplitGpt2, false, false},
    {"olmo", kSplitGpt2, false, false},
    {"jais", kSplitGpt2, false, false},
    {"jina-es", kSplitGpt2, false, false},
    {"jina-de", kSplitGpt2, false, false},
    {"jina-v1-en", kSplitGpt2, false, false},
    {"jina-v2-es", kSplitGpt2, false, false},
    {"jina-v2-de", kSplitGpt2, false, false},
    {"jina-v2-code", kSplitGpt2, false, false},
    {"roberta-bpe", kSplitGpt2, false, false},
    {"gigachat", kSplitGpt2, false, false},
    {"trillion", kSplitGpt2, false, false},
    {"starcoder", kSplitDigits, false, false},
    {"refact", kSplitDigits, false, false},
    {"command-r", kSplitDigits, false, false},
    {"smollm", kSplitDigits, false, false},
    {"codeshell", kSplitDigits, false, false},
    {"exaone", kSplitDigits, false, false},
    {"minerva-7b", kSplitDigits, false, false},
    {"falcon", kSplitFalcon, false, false},
    {"poro-chat", kSplitBloom, false, false},
    {"bloom", kSplitBloom, false, false},
    {"gpt3-finnish", kSplitBloom, false, false},
    {"viking", kSplitViking, false, false},
    {"default", kSplitDefault, false, false},
    {"falcon-h1", kSplitLlama3, true, true},
    {"pixtral", kSplitLlama3, true, true},
    {"midm-2.0", kSplitLlama3, true, true},
    {"lfm2", kSplitLlama3, true, true},
    {"jina-v5-nano", kSplitLlama3, true, true},
    {"kormo", kSplitQwen2, false, false},
    {"f2llmv2", kSplitQwen2, false, false},
    {"hunyuan", kSplitQwen2, false, false},
    {"solar-open", kSplitQwen2, false, false},
    {"grok-2", kSplitQwen2, false, false},
    {"qwen35", kSplitQwen35, false, false},
    {"a.x-4.0", kSplitGpt2, false, false},
    {"mellum", kSplitGpt2, false, false},
    {"modern-bert", kSplitGpt2, false, false},
    {"exaone4", kSplitGpt2, false, false},
    {"granite-docling", kSplitGpt2, false, false},
    {"deepseek-llm", kSplitDeepseek, false, false},
    {"deepseek-coder", kSplitDeepseekCoder, false, false},
    {"deepseek-v3", kSplitDeepseek3, false, false},
    {"hunyuan-dense", kSplitDeepseek3, false, false},
    {"joyai-llm", kSplitDeepseek3, false, false},
    {"tekken", kSplitTekken, true, true},
    {"gpt-4o", kSplitGpt4o, false, false},
    {"llama4", kSplitGpt4o, false, false},
    {"kanana2", kSplitGpt4o, false, false},
    {"talkie", kSplitGpt4o, false, false},
    {"granite-embed-multi-97m", kSplitGpt4o, true, false},
    {"minimax-m2", kSplitGpt4o, false, false},
    {"bailingmoe", kSplitBailing, false, false},
    {"bailingmoe2", kSplitBailing, false, false},
    {"llada-moe", kSplitBailing, false, false},
    {"seed-coder", kSplitSeedCoder, false, false},
    {"chameleon", kSplitChameleon, false, true},
    {"hy_v4", kSplitDeepseek3, false, false},
    {"mellum2", kSplitDigits, false, false},
    {"kimi-k2", kSplitKimi, false, false},
    {"superbpe", kSplitSuperbpe, false, false},
    {"youtu", kSplitYoutu, true, false},
    {"exaone-moe", kSplitExaoneMoe, false, false},
    {"jais-2", kSplitJais2, false, false},
    {"spark2_5", kSplitSpark, false, false},
    {"ufakzeka", kSplitUfakzeka, false, false},
    {"tiny_aya", kSplitTinyAya, false, false},
    {"cohere2moe", kSplitTinyAya, false, false},
    {"laguna", kSplitLaguna, false, false},
    {"afmoe", kSplitAfmoe, false, false},
    {"minicpm5", kSplitMinicpm5, true, false},
    {"gemma4", kSplitLines, false, false, true},
    {"granite-embed-multi-311m", kSplitLines, false, false, true},
    {"sarvam-moe", kSplitLines, false, false, true},
};

}  // namespace

std::span<const GgufPreTokenizer> gguf_pre_tokenizers() noexcept { return kNames; }

Result<const GgufPreTokenizer*> find_gguf_pre_tokenizer(std::string_view name) {
  for (const GgufPreTokenizer& p : kNames) {
    if (p.name == name) return &p;
  }
  return Status(
      Code::unsupported,
      fmt::format("the pre-tokenizer \"{}\" (tokenizer.ggml.pre) is not known, so the text could not be cut as the "
                  "model was trained to see it",
                  name));
}

}  // namespace nbl::text
