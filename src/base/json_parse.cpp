// Text to Json. The only file that sees the JSON library.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <new>

#include "base/bounds.h"
#include "base/foreign.h"
#include "base/json_document.h"
#include "base/json_rep.h"

namespace nbl {
namespace {

namespace dom = simdjson::dom;

std::string_view reason(simdjson::error_code error) {
  switch (error) {
    case simdjson::UTF8_ERROR:
      return "the text is not UTF-8";
    case simdjson::NUMBER_ERROR:
      return "no number, or one too large";
    case simdjson::STRING_ERROR:
      return "a wrong escape in a string";
    case simdjson::UNESCAPED_CHARS:
      return "a control character in a string";
    case simdjson::UNCLOSED_STRING:
      return "a string without its end";
    case simdjson::T_ATOM_ERROR:
    case simdjson::F_ATOM_ERROR:
    case simdjson::N_ATOM_ERROR:
      return "no value; true, false and null are written so";
    default:
      return "no value, or a comma, colon or bracket out of place";
  }
}

Status parse_error(simdjson::error_code error, std::string_view origin, std::string_view text,
                   const JsonLimits& limits) {
  switch (error) {
    case simdjson::MEMALLOC:
      return {Code::out_of_memory, fmt::format("{}: no memory to parse {} bytes of JSON", origin, text.size())};
    case simdjson::CAPACITY:
      return {Code::limit, fmt::format("{}: {} bytes of JSON are too many", origin, text.size())};
    case simdjson::DEPTH_ERROR:
      return {Code::limit, fmt::format("{}: JSON nested deeper than {} levels", origin, limits.max_depth)};
    case simdjson::EMPTY:
      return {Code::corrupt, fmt::format("{}: no JSON value in {} bytes", origin, text.size())};
    default:
      return {Code::corrupt,
              fmt::format("{}: not valid JSON at {}: {}", origin, json_error_place(text), reason(error))};
  }
}

// The element as the kind that its type() says it is.
template <class T>
T get(dom::element element) {
  T value{};
  return element.get(value) == simdjson::SUCCESS ? value : T{};
}

class Converter {
 public:
  explicit Converter(std::string_view origin) : origin_(origin) {}
  /// With tables to leave out: path and where it lies, null until it is met.
  Converter(std::string_view origin, std::span<std::pair<std::string, dom::element>> tables, std::span<bool> met)
      : origin_(origin), tables_(tables), met_(met) {}

  // False when a key came twice; status() then says which. The depth is bounded by the parser.
  bool convert(dom::element element, Json& out) {
    switch (element.type()) {
      case dom::element_type::NULL_VALUE:
        out = Json();
        return true;
      case dom::element_type::BOOL:
        out = Json(get<bool>(element));
        return true;
      case dom::element_type::INT64:
        out = Json(get<int64_t>(element));
        return true;
      case dom::element_type::UINT64:  // above the largest int64: kept as a real, like any integer beyond 64 bits
        out = Json(static_cast<double>(get<uint64_t>(element)));
        return true;
      case dom::element_type::DOUBLE:
        out = Json(get<double>(element));
        return true;
      case dom::element_type::STRING:
        out = Json(std::string(get<std::string_view>(element)));
        return true;
      case dom::element_type::ARRAY: {
        const auto array = get<dom::array>(element);
        std::vector<Json> values;
        values.reserve(array.size());
        depth_ += 2;  // what lies in an array is no member of a member
        for (const dom::element child : array) {
          if (!convert(child, values.emplace_back())) return false;
        }
        depth_ -= 2;
        out = JsonBuilder::wrap(std::move(values));
        return true;
      }
      case dom::element_type::OBJECT: {
        JsonObject members;
        const dom::object object = get<dom::object>(element);
        members.reserve(object.size());
        ++depth_;
        for (const dom::key_value_pair pair : object) {
          Json value;
          if (!leave_out(pair) && !convert(pair.value, value)) return false;
          if (!members.insert(pair.key, std::move(value))) {
            duplicate_ = std::string(pair.key.substr(0, 100));
            return false;
          }
        }
        --depth_;
        out = JsonBuilder::wrap(std::move(members));
        return true;
      }
    }
    return true;
  }

  Status status() const {
    return {Code::corrupt, fmt::format("{}: the key '{}' comes twice in one object", origin_, duplicate_)};
  }

 private:
  bool leave_out(const dom::key_value_pair& pair) {
    if (tables_.empty() || depth_ > 2) return false;
    if (depth_ == 1) parent_ = pair.key;
    const auto type = pair.value.type();
    if (type != dom::element_type::ARRAY && type != dom::element_type::OBJECT) return false;
    for (std::size_t i = 0; i < tables_.size(); ++i) {
      const std::string_view path = tables_[i].first;
      const bool here = depth_ == 1 ? path == pair.key && path.find('/') == std::string_view::npos
                                    : path.size() == parent_.size() + 1 + pair.key.size() && path.starts_with(parent_) &&
                                          path.ends_with(pair.key) && path[parent_.size()] == '/';
      if (met_[i] || !here) continue;
      tables_[i].second = pair.value;
      met_[i] = true;
      return true;
    }
    return false;
  }

  std::string_view origin_;
  std::string duplicate_;
  std::span<std::pair<std::string, dom::element>> tables_;
  std::span<bool> met_;
  std::string_view parent_;  ///< the root's member that is being read
  int depth_ = 0;
};

// The same text with every integer literal of 19 and more digits written as a real. The library refuses integers beyond
// 64 bits, and real files have them (a tokenizer's model_max_length of 10^30).
std::string with_long_integers_as_reals(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 64);
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t begin = i;
    if (text[i] == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i) i += text[i] == '\\' ? 1 : 0;
      i = std::min(i + 1, text.size());
      out.append(text, begin, i - begin);
    } else if (text[i] == '-' || (text[i] >= '0' && text[i] <= '9')) {
      i = std::min(text.find_first_not_of("0123456789", begin + 1), text.size());
      out.append(text, begin, i - begin);
      const bool whole = i == text.size() || (text[i] != '.' && text[i] != 'e' && text[i] != 'E');
      if (whole && i - begin >= 19) out += "e0";
      if (!whole) {
        const std::size_t rest = i;
        i = std::min(text.find_first_not_of("0123456789.eE+-", rest), text.size());
        out.append(text, rest, i - rest);
      }
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

// An own parser object a call, of the best implementation: asking the library for its active one would make it read the
// environment.
simdjson::error_code make_parser(dom::parser& parser, std::size_t capacity, int max_depth) {
  const auto* best = simdjson::get_available_implementations().detect_best_supported();
  const auto error = best->create_dom_parser_implementation(capacity, static_cast<std::size_t>(max_depth), parser.implementation);
  block_filled_elsewhere(parser.implementation.get());
  return error;
}

simdjson::error_code parse_text(dom::parser& parser, std::string_view text, dom::element& root) {
  const auto error = parser.parse(text.data(), text.size(), true).get(root);
  block_filled_elsewhere(parser.doc.tape.get());
  block_filled_elsewhere(parser.doc.string_buf.get());
  return error;
}

/// The parsed text; valid as long as the parser.
Result<dom::element> parse_bounded(dom::parser& parser, std::string_view text, std::string_view origin, JsonLimits limits) {
  limits.max_bytes = std::min(limits.max_bytes, bound(Bound::json_bytes));
  limits.max_depth = std::min(limits.max_depth, static_cast<int>(bound(Bound::json_depth)));
  if (static_cast<int64_t>(text.size()) > limits.max_bytes) {
    return Status(Code::limit, fmt::format("{}: {} bytes of JSON, more than the {} that are read", origin, text.size(),
                                           limits.max_bytes));
  }
  if (text.empty()) text = "";  // the parser copies from its pointer, which may be null then
  if (const auto error = make_parser(parser, std::max<std::size_t>(text.size() + 64, 256), limits.max_depth)) {
    return parse_error(error, origin, text, limits);
  }
  dom::element root;
  auto error = parse_text(parser, text, root);
  if (error == simdjson::NUMBER_ERROR) {
    const std::string rewritten = with_long_integers_as_reals(text);
    error = parse_text(parser, rewritten, root);
  }
  if (error) return parse_error(error, origin, text, limits);
  return root;
}

Status no_memory(std::string_view text, std::string_view origin) {
  return Status(Code::out_of_memory, fmt::format("{}: no memory for {} bytes of JSON", origin, text.size()));
}

JsonCell cell(dom::element element) {
  JsonCell c;
  switch (element.type()) {
    case dom::element_type::NULL_VALUE:
      break;
    case dom::element_type::BOOL:
      c.kind = Json::Kind::boolean;
      break;
    case dom::element_type::INT64:
      c.kind = Json::Kind::integer;
      c.integer = get<int64_t>(element);
      c.real = static_cast<double>(c.integer);
      break;
    case dom::element_type::UINT64:
      c.kind = Json::Kind::real;
      c.real = static_cast<double>(get<uint64_t>(element));
      break;
    case dom::element_type::DOUBLE:
      c.kind = Json::Kind::real;
      c.real = get<double>(element);
      break;
    case dom::element_type::STRING:
      c.kind = Json::Kind::string;
      c.text = get<std::string_view>(element);
      break;
    case dom::element_type::ARRAY:
      c.kind = Json::Kind::array;
      break;
    case dom::element_type::OBJECT:
      c.kind = Json::Kind::object;
      break;
  }
  return c;
}

}  // namespace

Result<Json> Json::parse(std::string_view text, std::string_view origin, const JsonLimits& limits) {
  try {
    dom::parser parser;
    NBL_ASSIGN(const dom::element root, parse_bounded(parser, text, origin, limits));
    Json value;
    Converter converter(origin);
    if (!converter.convert(root, value)) return converter.status();
    return value;
  } catch (const std::bad_alloc&) {
    return no_memory(text, origin);
  }
}

struct JsonDocument::Impl {
  dom::parser parser;
  std::vector<std::pair<std::string, dom::element>> tables;
  std::unique_ptr<bool[]> met;
  Json value;

  const dom::element* find(std::string_view table) const noexcept {
    for (std::size_t i = 0; i < tables.size(); ++i)
      if (met[i] && tables[i].first == table) return &tables[i].second;
    return nullptr;
  }
};

JsonDocument::JsonDocument(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;
const Json& JsonDocument::value() const noexcept { return impl_->value; }

Result<JsonDocument> JsonDocument::parse(std::string_view text, std::string_view origin,
                                         std::span<const std::string_view> tables, const JsonLimits& limits) {
  try {
    auto impl = std::make_unique<Impl>();
    NBL_ASSIGN(const dom::element root, parse_bounded(impl->parser, text, origin, limits));
    for (const std::string_view table : tables) impl->tables.emplace_back(table, dom::element());
    impl->met = std::make_unique<bool[]>(tables.size());
    Converter converter(origin, impl->tables, {impl->met.get(), tables.size()});
    if (!converter.convert(root, impl->value)) return converter.status();
    return JsonDocument(std::move(impl));
  } catch (const std::bad_alloc&) {
    return no_memory(text, origin);
  }
}

Json::Kind JsonDocument::kind(std::string_view table) const noexcept {
  const dom::element* found = impl_->find(table);
  if (found == nullptr) return Json::Kind::null;
  return found->is_array() ? Json::Kind::array : Json::Kind::object;
}

std::size_t JsonDocument::size(std::string_view table) const noexcept {
  // The parser's own counts saturate at 2^24 - 1, above what any caller takes.
  const dom::element* found = impl_->find(table);
  if (found == nullptr) return 0;
  return found->is_array() ? get<dom::array>(*found).size() : get<dom::object>(*found).size();
}

Status JsonDocument::for_each_member(std::string_view table,
                                     const std::function<Status(std::string_view, const JsonCell&)>& take) const {
  const dom::element* found = impl_->find(table);
  if (found == nullptr || !found->is_object()) return {};
  for (const dom::key_value_pair pair : get<dom::object>(*found)) NBL_TRY(take(pair.key, cell(pair.value)));
  return {};
}

Status JsonDocument::for_each_row(std::string_view table,
                                  const std::function<Status(std::span<const JsonCell>)>& take) const {
  const dom::element* found = impl_->find(table);
  if (found == nullptr || !found->is_array()) return {};
  std::vector<JsonCell> cells;
  for (const dom::element row : get<dom::array>(*found)) {
    cells.clear();
    if (row.is_array()) {
      for (const dom::element value : get<dom::array>(row)) cells.push_back(cell(value));
    } else {
      cells.push_back(cell(row));
    }
    NBL_TRY(take(cells));
  }
  return {};
}

Json JsonDocument::element(std::string_view table, std::size_t index) const {
  const dom::element* found = impl_->find(table);
  Json value;
  Converter converter({});
  std::size_t i = 0;
  if (found != nullptr && found->is_array()) {
    for (const dom::element row : get<dom::array>(*found))
      if (i++ == index) converter.convert(row, value);
  }
  return value;
}

}  // namespace nbl
