// Paths through trellis-coded columns, inside the namespace of every variant, after panel_body.inl. The including file also defines
// M (a mask of V's lanes), greater(a, b), select(M, yes, no) and lane_bits(M): lane l at bit l.

namespace {

constexpr int kSteps = static_cast<int>(kTrellisSteps), kHalf = kTrellisStates / 2;
constexpr float kNever = 1e30f;

/// The entries that carry one pair of labels, ascending, and the middles between them.
template <int kEntries>
struct Subset {
  V value[kEntries], middle[kEntries];
  Subset() = default;
  Subset(const float* table, uint32_t labels) {
    for (int f = 0; f < kEntries; ++f) {
      value[f] = broadcast(table[4 * f + static_cast<int>(labels)]);
      if (f > 0) middle[f] = broadcast(0.5f * (table[4 * (f - 1) + static_cast<int>(labels)] + table[4 * f + static_cast<int>(labels)]));
    }
  }
  V nearest(V x) const {
    V out = value[0];
    for (int f = 1; f < kEntries; ++f) out = select(greater(x, middle[f]), value[f], out);
    return out;
  }
};

struct TrellisStep {
  V value, cost;
};

/// kLanes rows from `row` on. What each step decided is in from[step][state]: bit l is set when lane l came from the state with the
/// oldest path bit set.
template <int kEntries>
void trellis_lanes(const TrellisArgs& a, int row) {
  Subset<kEntries> subsets[4];
  for (uint32_t z = 0; z < 4; ++z) subsets[z] = Subset<kEntries>(a.table, z);
  const V scale = load(a.scale + row), inverse = load(a.inverse + row);
  V costs[2][kTrellisStates];
  uint16_t from[kSteps][kTrellisStates];
  for (V& c : costs[0]) c = broadcast(kNever);
  costs[0][0] = zero(V{});
  constexpr int kState = kSteps * kLanes;  // floats that a state's sums for all steps take
  float* sums = a.scratch;
  float* next_sums = a.scratch + kTrellisStates * kState;
  if (a.feed != nullptr) {
    for (int64_t i = 0; i < int64_t{kTrellisStates} * kState; i += kLanes) store(sums + i, zero(V{}));
  }
  for (int s = 0; s < kSteps; ++s) {
    const V* cost = costs[s % 2];
    V* next = costs[(s + 1) % 2];
    const bool present = a.present == nullptr || a.present[s] != 0;
    const V wanted = load(a.wanted + s * kPanelRows + row), weight = broadcast(a.weight == nullptr ? 1.0f : a.weight[s]);
    const auto branch = [&](V target, V before, uint32_t labels) {
      TrellisStep out;
      out.value = subsets[labels].nearest(mul(target, inverse));
      const V e = mul(sub(target, mul(scale, out.value)), weight);
      out.cost = fma(e, e, before);
      return out;
    };
    TrellisStep alone[4];  // without feedback every state has the same four choices
    if (a.feed == nullptr)
      for (uint32_t z = 0; z < 4; ++z) alone[z] = branch(wanted, zero(V{}), z);
    for (int p = 0; p < kHalf; ++p) {
      const float *sum_a = sums + p * kState, *sum_b = sums + (p + kHalf) * kState;
      TrellisStep choice[2][2];  // [path bit][oldest bit of the state]
      for (uint32_t old = 0; old < 2; ++old) {
        const uint32_t state = static_cast<uint32_t>(p) | old << (kTrellisMemory - 1);
        const V before = cost[state];
        const V target = a.feed == nullptr ? wanted : add(wanted, load((old == 0 ? sum_a : sum_b) + s * kLanes));
        for (uint32_t u = 0; u < 2; ++u) {
          const uint32_t labels = trellis_label1(state, u) << 1 | trellis_label0(state);
          if (!present)
            choice[u][old] = {zero(V{}), u == 0 ? before : broadcast(kNever)};
          else if (a.feed == nullptr)
            choice[u][old] = {alone[labels].value, add(before, alone[labels].cost)};
          else
            choice[u][old] = branch(target, before, labels);
        }
      }
      M other[2];
      V error[2];
      for (int u = 0; u < 2; ++u) {
        other[u] = greater(choice[u][0].cost, choice[u][1].cost);
        next[2 * p + u] = select(other[u], choice[u][1].cost, choice[u][0].cost);
        from[s][2 * p + u] = static_cast<uint16_t>(lane_bits(other[u]));
        if (a.feed == nullptr) continue;
        const V value = select(other[u], choice[u][1].value, choice[u][0].value);
        error[u] = present ? sub(load(a.truth + s * kPanelRows + row), mul(scale, value)) : zero(V{});
      }
      if (a.feed == nullptr) continue;
      float *to0 = next_sums + 2 * p * kState, *to1 = to0 + kState;
      const float* feed = a.feed + s * kSteps;
      for (int t = s + 1; t < kSteps; ++t) {
        const V x = load(sum_a + t * kLanes), y = load(sum_b + t * kLanes), f = broadcast(feed[t]);
        store(to0 + t * kLanes, fma(error[0], f, select(other[0], y, x)));
        store(to1 + t * kLanes, fma(error[1], f, select(other[1], y, x)));
      }
    }
    float* swap = sums;
    sums = next_sums;
    next_sums = swap;
  }

  alignas(64) float ends[kTrellisStates][kLanes];
  for (int state = 0; state < kTrellisStates; ++state) store(ends[state], costs[kSteps % 2][state]);
  uint64_t path[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    uint32_t state = 0;
    for (uint32_t i = 1; i < static_cast<uint32_t>(kTrellisStates); ++i)
      if (ends[i][l] < ends[state][l]) state = i;
    a.cost[row + l] = ends[state][l];
    path[l] = 0;
    for (int s = kSteps - 1; s >= 0; --s) {
      path[l] |= uint64_t{state & 1u} << s;
      state = state >> 1 | (static_cast<uint32_t>(from[s][state]) >> l & 1u) << (kTrellisMemory - 1);
    }
  }
  if (a.codes == nullptr) return;

  // Along the paths once more, for the codes.
  float* sum = a.scratch;
  for (int s = 0; s < kSteps; ++s) store(sum + s * kLanes, zero(V{}));
  for (int s = 0; s < kSteps; ++s) {
    alignas(64) float x[kLanes], value[kLanes];
    store(x, mul(add(load(a.wanted + s * kPanelRows + row), load(sum + s * kLanes)), inverse));
    const bool present = a.present == nullptr || a.present[s] != 0;
    for (int l = 0; l < kLanes; ++l) {
      const TrellisLabels labels = trellis_labels(path[l]);
      const int z = static_cast<int>((labels.one >> s & 1u) << 1 | (labels.zero >> s & 1u));
      int code = z;
      for (int f = 1; f < kEntries; ++f)
        if (x[l] > 0.5f * (a.table[4 * (f - 1) + z] + a.table[4 * f + z])) code = 4 * f + z;
      a.codes[s * kPanelRows + row + l] = static_cast<uint8_t>(present ? code : 0);
      value[l] = a.table[code];
    }
    if (!present || a.feed == nullptr) continue;
    const V error = sub(load(a.truth + s * kPanelRows + row), mul(scale, load(value)));
    for (int t = s + 1; t < kSteps; ++t)
      store(sum + t * kLanes, fma(error, broadcast(a.feed[s * kSteps + t]), load(sum + t * kLanes)));
  }
}

}  // namespace

void trellis(const TrellisArgs& args) {
  for (int row = 0; row < static_cast<int>(kPanelRows); row += kLanes) {
    if (args.bits == 1) trellis_lanes<1>(args, row);
    if (args.bits == 2) trellis_lanes<2>(args, row);
    if (args.bits == 3) trellis_lanes<4>(args, row);
    if (args.bits == 4) trellis_lanes<8>(args, row);
  }
}
