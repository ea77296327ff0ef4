// The body of every variant, inside its namespace. The including file defines before, in an unnamed namespace, V (a vector of kLanes floats), D
// (a vector of doubles), load, store, zero(T{}), broadcast, fma(a, b, c) = a * b + c for both, and mul, add, sub, min, max for V;
// kFeedbackBlock columns are summed at a time, kVectors vectors of rows.

namespace {

/// kColumns columns of all rows, kVectors vectors of rows at a time. T is a vector type, Args its argument struct.
template <class T, int kColumns, class Args>
inline void feedback_block(const Args& args, int column) {
  constexpr int kWidth = static_cast<int>(sizeof(T) / sizeof(*args.out));
  constexpr int kRows = 128 / static_cast<int>(sizeof(*args.out));  // a panel's line is 128 bytes in either precision
  constexpr int kStep = kVectors * kWidth;
  const auto* a = args.a + column * args.lda;
  for (int row = 0; row < kRows; row += kStep) {
    T sum[kColumns][kVectors];
    for (int c = 0; c < kColumns; ++c)
      for (int v = 0; v < kVectors; ++v) sum[c][v] = zero(T{});
    for (int64_t i = args.begin; i < args.end; ++i) {
      const auto* p = args.panel + i * kRows + row;
      T x[kVectors];
      for (int v = 0; v < kVectors; ++v) x[v] = load(p + v * kWidth);
      for (int c = 0; c < kColumns; ++c) {
        const T f = broadcast(a[c * args.lda + i]);
        for (int v = 0; v < kVectors; ++v) sum[c][v] = fma(f, x[v], sum[c][v]);
      }
    }
    for (int c = 0; c < kColumns; ++c)
      for (int v = 0; v < kVectors; ++v) store(args.out + (column + c) * kRows + row + v * kWidth, sum[c][v]);
  }
}

template <class T, class Args>
inline void feedback_all(const Args& args) {
  int column = 0;
  for (; column + kFeedbackBlock <= args.columns; column += kFeedbackBlock) {
    feedback_block<T, kFeedbackBlock>(args, column);
  }
  for (; column < args.columns; ++column) feedback_block<T, 1>(args, column);
}

}  // namespace

void feedback(const FeedbackArgs& args) { feedback_all<V>(args); }
void feedback64(const Feedback64Args& args) { feedback_all<D>(args); }

void grid_error(const GridErrorArgs& args) {
  const V magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const V none = zero(V{}), most = broadcast(args.max_code);
  for (int row = 0; row < static_cast<int>(kPanelRows); row += kLanes) {
    const V scale = load(args.scale + row), inverse = load(args.inverse + row), shift = load(args.zero + row);
    V sum = zero(V{});
    for (int64_t c = 0; c < args.columns; ++c) {
      const V w = load(args.panel + c * kPanelRows + row);
      V q = min(max(add(mul(w, inverse), shift), none), most);
      q = sub(add(q, magic), magic);
      const V e = sub(w, mul(scale, sub(q, shift)));
      V square = mul(e, e);
      if (args.importance != nullptr) square = mul(square, broadcast(args.importance[c]));
      sum = add(sum, square);
    }
    store(args.out + row, sum);
  }
}
