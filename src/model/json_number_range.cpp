// Numbers within bounds, digit by digit: how far the digits so far equal those of the lower and of the upper bound decides
// which may follow.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>
#include <tuple>

#include "model/json_grammar.h"

namespace nbl::model {
namespace {

using Node = GrammarBuilder::Node;

constexpr std::size_t kMaxDigits = 15;    ///< decimals of so many digits are told apart by doubles
constexpr std::size_t kMaxFraction = 40;  ///< of a bound

/// A magnitude as digits before and after the point.
struct Decimal {
  std::string whole = "0", fraction;
  bool exclusive = false;
  bool zero() const { return whole == "0" && fraction.find_first_not_of('0') == std::string::npos; }
};

/// The bound's shortest digits that read back. `inward`: where the numbers lie that it allows.
Result<Decimal> decimal(double value, bool exclusive, double inward) {
  std::string digits;
  for (int precision = 0; precision < 17; ++precision) {
    digits = fmt::format("{:.{}e}", std::abs(value), precision);
    double back = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), back);  // whatever the locale's decimal point
    if (back == std::abs(value)) break;
  }
  const std::size_t e = digits.find('e');
  const int exponent = std::stoi(digits.substr(e + 1));
  digits.resize(e);
  if (digits.size() > 1) digits.erase(1, 1);
  // Digits beyond those that doubles tell apart: something short of the bound might be read back as the bound.
  if (exclusive && digits.size() > kMaxDigits) return decimal(std::nextafter(value, inward), false, inward);
  Decimal d;
  d.exclusive = exclusive;
  if (value == 0) return d;
  if (exponent < 0) {
    d.fraction = std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  } else {
    const auto whole = static_cast<std::size_t>(exponent) + 1;
    if (digits.size() < whole) digits.resize(whole, '0');
    d.whole = digits.substr(0, whole);
    d.fraction = digits.substr(whole);
  }
  if (d.whole.size() > kMaxDigits || d.fraction.size() > kMaxFraction)
    return Status(Code::unsupported, fmt::format("the bound {} has more digits than are supported", value));
  return d;
}

class MagnitudeRange {
 public:
  MagnitudeRange(GrammarBuilder& b, Decimal low, std::optional<Decimal> high, bool integer, int64_t step)
      : b_(b), low_(std::move(low)), high_(std::move(high)), integer_(integer || step > 1), step_(step) {
    std::size_t digits = low_.fraction.size();
    if (high_) digits = std::max(digits, high_->fraction.size());
    const std::size_t whole = high_ ? high_->whole.size() : low_.whole.size();
    fraction_ = std::min<std::size_t>(digits + 3, kMaxDigits - std::min<std::size_t>(whole, kMaxDigits - 1));
    fraction_ = std::max(fraction_, digits);
  }

  /// Of every number of digits before the point.
  Node node() {
    std::vector<Node> all;
    const std::size_t most = high_ ? high_->whole.size() : std::max<std::size_t>(low_.whole.size(), kMaxDigits - 3);
    for (std::size_t n = low_.whole.size(); n <= most; ++n)
      all.push_back(whole(n, 0, n == low_.whole.size(), high_ && n == high_->whole.size(), 0));
    return b_.choice(std::move(all));
  }

 private:
  using Key = std::tuple<bool, std::size_t, std::size_t, bool, bool, int64_t>;

  Node digits(int from, int to) {
    return b_.chars({{static_cast<uint32_t>('0' + from), static_cast<uint32_t>('0' + to)}});
  }
  static int digit_of(const std::string& text, std::size_t i) { return i < text.size() ? text[i] - '0' : 0; }
  static bool zeros_from(const std::string& text, std::size_t i) {
    return i >= text.size() || text.find_first_not_of('0', i) == std::string::npos;
  }
  /// Whether the number may end after `i` digits of the fraction.
  bool may_end(std::size_t i, bool at_low, bool at_high) const {
    if (at_low && (!zeros_from(low_.fraction, i) || low_.exclusive)) return false;
    return !at_high || !zeros_from(high_->fraction, i) || !high_->exclusive;
  }

  /// Digits that may come next, by how the bounds still bind afterwards.
  template <class Next>
  Node step(int first, int low, int high, bool at_low, bool at_high, Next next) {
    std::vector<Node> all;
    const int from = at_low ? std::max(first, low) : first, to = at_high ? high : 9;
    for (int d = from; d <= to;) {
      const bool l = at_low && d == low, h = at_high && d == high;
      int end = d;
      while (step_ == 1 && !l && !h && end + 1 <= to && !(at_high && end + 1 == high)) ++end;
      all.push_back(b_.sequence({digits(d, end), next(l, h, d)}));
      d = end + 1;
    }
    return b_.choice(std::move(all));
  }

  Node shared(const Key& key, auto make) {
    const auto [it, fresh] = rules_.try_emplace(key, 0);
    if (fresh) {
      it->second = b_.declare("number");
      const int32_t rule = it->second;
      b_.define(rule, make());
      return b_.call(rule);
    }
    return b_.call(it->second);
  }

  /// remainder: what the digits so far leave when the step divides them.
  Node whole(std::size_t n, std::size_t i, bool at_low, bool at_high, int64_t remainder) {
    if (i == n) return remainder == 0 ? after_whole(at_low, at_high) : b_.choice({});
    // Where no bound binds any more, only how many digits follow matters.
    const bool free = i > 0 && !at_low && !at_high;
    return shared({false, free ? n - i : n, free ? 0 : i, at_low, at_high, free ? remainder : remainder + step_}, [&] {
      return step(i == 0 && n > 1 ? 1 : 0, digit_of(low_.whole, i), high_ ? digit_of(high_->whole, i) : 9, at_low, at_high,
                  [&](bool l, bool h, int d) { return whole(n, i + 1, l, h, (10 * remainder + d) % step_); });
    });
  }
  Node after_whole(bool at_low, bool at_high) {
    std::vector<Node> all;
    if (may_end(0, at_low, at_high)) all.push_back(b_.empty());
    if (!integer_ && fraction_ > 0) all.push_back(b_.sequence({b_.literal("."), fraction(0, at_low, at_high)}));
    return b_.choice(std::move(all));
  }
  Node fraction(std::size_t i, bool at_low, bool at_high) {
    return shared({true, 0, i, at_low, at_high, 0}, [&] {
      return step(0, digit_of(low_.fraction, i), high_ ? digit_of(high_->fraction, i) : 9, at_low, at_high,
                  [&](bool l, bool h, int) {
                    std::vector<Node> all;
                    if (may_end(i + 1, l, h)) all.push_back(b_.empty());
                    if (i + 1 < fraction_) all.push_back(fraction(i + 1, l, h));
                    return b_.choice(std::move(all));
                  });
    });
  }

  GrammarBuilder& b_;
  Decimal low_;
  std::optional<Decimal> high_;
  bool integer_;
  int64_t step_;
  std::size_t fraction_ = 0;  ///< digits after the point at most
  std::map<Key, int32_t> rules_;
};

}  // namespace

Result<Node> json_number_range(GrammarBuilder& b, std::optional<Bound> low, std::optional<Bound> high, bool integer,
                               int64_t step) {
  // Bounds beyond the digits that are ever written do not bind.
  if (high && high->value >= 1e14) high.reset();
  if (low && low->value <= -1e14) low.reset();
  if ((low && low->value >= 1e14) || (high && high->value <= -1e14))
    return Status(Code::unsupported, "a bound of a number has more digits than are supported");
  std::vector<Node> all;
  if (!high || high->value > 0 || (high->value == 0 && !high->exclusive)) {
    Decimal from;
    if (low && low->value >= 0) {
      NBL_ASSIGN(from, decimal(low->value, low->exclusive, INFINITY));
    }
    std::optional<Decimal> to;
    if (high) {
      NBL_ASSIGN(to, decimal(high->value, high->exclusive, -INFINITY));
    }
    if (!low || !high || low->value <= high->value) all.push_back(MagnitudeRange(b, from, to, integer, step).node());
  }
  if (!low || low->value < 0) {
    Decimal from;  // minus nothing is left to the other side
    from.exclusive = true;
    if (high && high->value < 0) {
      NBL_ASSIGN(from, decimal(high->value, high->exclusive, -INFINITY));
    }
    std::optional<Decimal> to;
    if (low) {
      NBL_ASSIGN(to, decimal(low->value, low->exclusive, INFINITY));
    }
    if (!low || !high || low->value <= high->value)
      all.push_back(b.sequence({b.literal("-"), MagnitudeRange(b, from, to, integer, step).node()}));
  }
  return b.choice(std::move(all));
}

}  // namespace nbl::model
