// The body of every variant. The including file defines V (a vector of kLanes floats) and load, store, zero, broadcast and
// fma(a, b, c) = a * b + c in its own unnamed namespace.

/// kColumns columns of all 32 rows, kVectors vectors of rows at a time.
template <int kColumns, int kVectors>
inline void feedback_block(const FeedbackArgs& args, int column) {
  constexpr int kStep = kVectors * kLanes;
  const float* a = args.a + column * args.lda;
  for (int row = 0; row < static_cast<int>(kPanelRows); row += kStep) {
    V sum[kColumns][kVectors];
    for (int c = 0; c < kColumns; ++c)
      for (int v = 0; v < kVectors; ++v) sum[c][v] = zero();
    for (int64_t i = args.begin; i < args.end; ++i) {
      const float* p = args.panel + i * kPanelRows + row;
      V x[kVectors];
      for (int v = 0; v < kVectors; ++v) x[v] = load(p + v * kLanes);
      for (int c = 0; c < kColumns; ++c) {
        const V f = broadcast(a[c * args.lda + i]);
        for (int v = 0; v < kVectors; ++v) sum[c][v] = fma(f, x[v], sum[c][v]);
      }
    }
    for (int c = 0; c < kColumns; ++c)
      for (int v = 0; v < kVectors; ++v) store(args.out + (column + c) * kPanelRows + row + v * kLanes, sum[c][v]);
  }
}

template <int kColumns, int kVectors>
inline void feedback_all(const FeedbackArgs& args) {
  int column = 0;
  for (; column + kColumns <= args.columns; column += kColumns) feedback_block<kColumns, kVectors>(args, column);
  for (; column < args.columns; ++column) feedback_block<1, kVectors>(args, column);
}
