// `value is test`.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "text/jinja_case.h"
#include "text/jinja_filters.h"

namespace nbl::text::jinja {
namespace {

using Args = const CallArguments&;

Result<Value> argument(const Bound& bound) {
  if (bound[0] == nullptr) return Status(Code::corrupt, "a test lacks its argument");
  return *bound[0];
}

template <bool Defined>
Result<bool> is_defined(Evaluator&, const Value& v, const Bound&, Args) {
  return v.is_undefined() != Defined;
}
template <Kind K>
Result<bool> is_kind(Evaluator&, const Value& v, const Bound&, Args) {
  return v.is(K);
}
Result<bool> is_number(Evaluator&, const Value& v, const Bound&, Args) { return v.is_number(); }
Result<bool> is_mapping(Evaluator&, const Value& v, const Bound&, Args) { return v.is(Kind::dict); }
Result<bool> is_iterable(Evaluator&, const Value& v, const Bound&, Args) {
  return v.is(Kind::list) || v.is(Kind::dict) || v.is_string() || v.is_undefined();
}
Result<bool> is_sequence(Evaluator& e, const Value& v, const Bound&, Args) {
  if (v.is_undefined()) return !e.options().strict_undefined;  // of no length, for jinja2
  return (v.is(Kind::list) && is_indexed(v.list().kind)) || v.is(Kind::dict) || v.is_string();
}
Result<bool> is_callable(Evaluator&, const Value& v, const Bound&, Args) {
  // An undefined value can be called, for jinja2: the call says what is undefined.
  return v.is_undefined() || (v.is(Kind::object) && v.object().callable());
}
template <bool Wanted>
Result<bool> is_constant(Evaluator&, const Value& v, const Bound&, Args) {
  return v.is(Kind::boolean) && v.boolean() == Wanted;
}
template <int Rest>
Result<bool> is_parity(Evaluator&, const Value& v, const Bound&, Args) {
  if (v.is(Kind::real) && std::isfinite(v.real())) return v.real() - 2 * std::floor(v.real() / 2) == Rest;
  if (!v.is_integral()) return Status(Code::corrupt, fmt::format("'{}' is neither odd nor even", type_name(v)));
  return (v.integer() & 1) == Rest;
}
Result<bool> is_divisible(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const Value by, argument(bound));
  NBL_ASSIGN(const Value rest, e.binary("%", v, by));
  return rest.is_number() && rest.real() == 0;
}
template <bool Wanted>
Result<bool> is_equal(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const Value other, argument(bound));
  NBL_ASSIGN(const bool same, e.equals(v, other));
  return same == Wanted;
}
template <int Sign, bool OrEqual>
Result<bool> is_ordered(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const Value other, argument(bound));
  NBL_TRY(e.spend(1 + std::min(weight_of(v), weight_of(other)) / 64));
  NBL_ASSIGN(const int order, compare(v, other));
  return order == Sign || (OrEqual && order == 0);
}
Result<bool> is_in(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const Value container, argument(bound));
  return e.contains(container, v);
}
Result<bool> is_same(Evaluator&, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const Value other, argument(bound));
  return v.same_as(other);
}
template <bool (*Ask)(std::string_view)>
Result<bool> is_case(Evaluator& e, const Value& v, const Bound&, Args) {
  NBL_ASSIGN(const Value text, e.text_of(v));
  return Ask(text.string());
}
Result<bool> is_filter(Evaluator& e, const Value& v, const Bound&, Args) {
  if (!hashable(v)) return Status(Code::corrupt, fmt::format("unhashable type: '{}'", type_name(v)));
  return v.is_string() && (find_filter(v.string()) != nullptr || e.options().filters.contains(v.string()));
}
Result<bool> is_test(Evaluator&, const Value& v, const Bound&, Args) {
  if (!hashable(v)) return Status(Code::corrupt, fmt::format("unhashable type: '{}'", type_name(v)));
  return v.is_string() && find_test(v.string()) != nullptr;
}
Result<bool> is_escaped(Evaluator&, const Value&, const Bound&, Args) { return false; }

constexpr std::array kTests = {
    Test{"defined", "", is_defined<true>},
    Test{"undefined", "", is_defined<false>},
    Test{"none", "", is_kind<Kind::none>},
    Test{"string", "", is_kind<Kind::string>},
    Test{"boolean", "", is_kind<Kind::boolean>},
    Test{"integer", "", is_kind<Kind::integer>},
    Test{"float", "", is_kind<Kind::real>},
    Test{"number", "", is_number},
    Test{"mapping", "", is_mapping},
    Test{"iterable", "", is_iterable},
    Test{"sequence", "", is_sequence},
    Test{"callable", "", is_callable},
    Test{"true", "", is_constant<true>},
    Test{"false", "", is_constant<false>},
    Test{"odd", "", is_parity<1>},
    Test{"even", "", is_parity<0>},
    Test{"divisibleby", "num", is_divisible},
    Test{"equalto", "other", is_equal<true>},
    Test{"eq", "other", is_equal<true>},
    Test{"==", "other", is_equal<true>},
    Test{"ne", "other", is_equal<false>},
    Test{"!=", "other", is_equal<false>},
    Test{"gt", "other", is_ordered<1, false>},
    Test{"greaterthan", "other", is_ordered<1, false>},
    Test{">", "other", is_ordered<1, false>},
    Test{"ge", "other", is_ordered<1, true>},
    Test{">=", "other", is_ordered<1, true>},
    Test{"lt", "other", is_ordered<-1, false>},
    Test{"lessthan", "other", is_ordered<-1, false>},
    Test{"<", "other", is_ordered<-1, false>},
    Test{"le", "other", is_ordered<-1, true>},
    Test{"<=", "other", is_ordered<-1, true>},
    Test{"in", "seq", is_in},
    Test{"sameas", "other", is_same},
    Test{"upper", "", is_case<is_upper>},
    Test{"lower", "", is_case<is_lower>},
    Test{"filter", "", is_filter},
    Test{"test", "", is_test},
    Test{"escaped", "", is_escaped},
};

}  // namespace

const Test* find_test(std::string_view name) noexcept {
  return find_named(kTests, name);
}

const Filter* find_filter(std::string_view name) noexcept {
  for (const auto find : {find_text_filter, find_sequence_filter, find_layout_filter, find_markup_filter}) {
    if (const Filter* found = find(name); found != nullptr) return found;
  }
  return nullptr;
}

std::string no_filter(std::string_view name) {
  if (name == "random") return "the filter 'random' is not supported: a template gives the same text every time";
  return fmt::format("there is no filter '{}'", name);
}

}  // namespace nbl::text::jinja
