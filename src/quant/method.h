// A quantization method: one file in methods/, one line in methods.inc. It gets a weight and statistics of the inputs that
// the weight multiplies, and returns a QTensor. It never sees a model: folding scales into neighbouring layers is the
// pipeline's work.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "tensor/qtensor.h"

namespace nbl::quant {

/// One option of a method, as `help`, the C ABI and Python show it.
struct OptionSpec {
  enum class Type { integer, real, boolean, choice, text };
  std::string_view name;
  Type type = Type::integer;
  std::string_view fallback;           ///< default, as text
  double min = 0, max = 0;             ///< bounds of numbers, inclusive
  std::vector<std::string_view> choices;  ///< of a choice; of others: words that may stand in their place
  std::string_view help;               ///< one line
};

/// Checked option values: every name is in the method's schema and every value within its bounds.
class Options {
 public:
  /// Fills defaults, then applies `values`; an error names the option, the value and what is allowed.
  static Result<Options> create(std::span<const OptionSpec> schema, const std::map<std::string, std::string>& values,
                                std::string_view method);
  int64_t integer(std::string_view name) const;
  double real(std::string_view name) const;
  bool boolean(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  const std::map<std::string, std::string>& all() const { return values_; }  ///< normalized, defaults included

 private:
  std::map<std::string, std::string> values_;
};

/// What calibration gathers for one input (shared by the linears that read it). k columns.
enum Need : uint32_t {
  kNeedNone = 0,
  kNeedHessian = 1u << 0,   ///< sum over tokens of x x^T
  kNeedAbsMean = 1u << 1,   ///< mean over tokens of |x|
  kNeedCross = 1u << 2,     ///< what the same input is in the unquantized model, against x
  kNeedSquare = 1u << 4,    ///< sum over tokens of x^2: the Hessian's diagonal alone
  kNeedAbsMax = 1u << 5,    ///< largest |x|
  kNeedResidual = 1u << 3,  ///< the error of the residual stream so far, against x
  /// Of inputs of linears that add to the residual stream: sums of products in which tokens count less whose stream is far larger
  /// than most tokens' (attention sinks). The next norm divides the stream by its size, so that what it is given weighs less.
  kNeedEvenTokens = 1u << 6,
};
struct InputStats {
  int64_t k = 0;
  int64_t tokens = 0;
  std::vector<float> hessian;    ///< [k, k] symmetric, SUM over tokens of x x^T (not divided); empty when not asked for
  std::vector<float> abs_mean;   ///< [k]
  std::vector<float> square;     ///< [k], sum over tokens of x^2
  std::vector<float> abs_max;    ///< [k]
  /// [k, k]: row j, column i is the sum over tokens of x_j (u_i - x_i), u the input that the unquantized model has here.
  std::vector<float> cross;
  /// [n, k] of the linear that reads this input and adds to the residual stream: the sum over tokens of (what the stream of the
  /// unquantized model holds before that addition - what it holds here) x^T. Empty for other inputs.
  std::vector<float> residual;
};

/// Where in a model a matrix stands, for methods that give some places more bits.
struct LinearPlace {
  enum class Kind { other, value, query_key_value, attention_output, down, output };
  Kind kind = Kind::other;
  int64_t layer = 0, layers = 0;  ///< of the decoder; no layers: unknown
};

/// One linear layer to quantize.
struct LinearTask {
  std::string name;
  int64_t n = 0, k = 0;
  std::span<const float> weight;      ///< [n, k] row-major
  const InputStats* stats = nullptr;  ///< null when the method needs none
  /// [k] or empty: which output of the input's producer each column comes from. Columns of one output (of a value head that several
  /// query heads share) must be given one input scale, or the producer could not take it.
  std::span<const int64_t> producer_rows = {};
  LinearPlace place = {};
  /// [n, n] or empty: sum of output_gradients many g g^T, g a gradient of the model's predictions with respect to the output,
  /// such that an error e of the output costs a divergence in proportion to the mean of (e g)^2.
  std::span<const float> output_moments = {};
  int64_t output_gradients = 0;
};

struct AffineCodes;

struct LinearResult {
  QTensor tensor;
  /// tr((W - Q) H (W - Q)^T) / tr(W H W^T) with a Hessian, else |W - Q|^2 / |W|^2.
  double error = 0;
  double reference = 0;               ///< what `error` is relative to, where that is |W|^2 or its weighted sum; else 0
  std::vector<std::string> notes;     ///< every fallback taken, with its reason
  /// The codes that `tensor` packs, in natural column order, when rounding may go on from them; else null.
  std::shared_ptr<AffineCodes> affine;
};

struct MethodContext {
  Team* team = nullptr;      ///< required
  uint64_t seed = 0;
  Isa isa = best_isa();      ///< kernels for this instruction set or the best one below it; the result does not depend on it
  ProgressFn progress;
};

/// How codes and scales of a whole decoder block are learned once its linears are quantized. Iterations 0: not at all.
struct BlockLearning {
  int64_t iterations = 0;
  double rate = 0, scale_rate = 0;
  int64_t batch_tokens = 0;
};

/// How codes, scales and norms of a whole model are learned once all of it is quantized. 0 epochs: not at all.
struct ModelLearning {
  double epochs = 0;  ///< passes over the calibration tokens
  double rate = 0, scale_rate = 0, norm_rate = 0;  ///< first steps: of codes in steps of the grid, of scales and norms relative
};

class Method {
 public:
  virtual ~Method() = default;
  virtual std::string_view id() const = 0;
  virtual std::string_view summary() const = 0;
  virtual std::span<const OptionSpec> options() const = 0;
  /// What the schema cannot say: values that do not go together. Called by parse_recipe.
  virtual Status check(const Options& options) const {
    (void)options;
    return {};
  }
  virtual uint32_t needs(const Options& options) const = 0;
  /// Whether the statistics of an input are to be those behind the already quantized linears of the same layer; else all of
  /// a layer are gathered before any of it is quantized, which input_scales() needs.
  virtual bool sequential(const Options& options) const {
    (void)options;
    return false;
  }
  /// Bits a weight takes nominally, scales and zeros included, for plans and tables.
  virtual double nominal_bits(const Options& options) const = 0;

  /// The error of its codes relative to other affine codes of as many bits and the same groups: tells mixed widths apart where a method
  /// has codes of different kinds.
  virtual double error_share(const Options& options) const {
    (void)options;
    return 1;
  }

  /// Share of the calibration windows over which kNeedCross and kNeedResidual compare with the unquantized model.
  virtual double original_share(const Options& options) const {
    (void)options;
    return 1;
  }

  /// Calibration tokens over which LinearTask::output_moments are to be measured; 0: not at all.
  virtual int64_t output_tokens(const Options& options) const {
    (void)options;
    return 0;
  }

  /// What the pipeline is to do with a block of this method's linears, all of which must fill LinearResult::affine.
  virtual BlockLearning block_learning(const Options& options) const {
    (void)options;
    return {};
  }

  /// What the pipeline is to do when every layer is quantized, with those linears that fill LinearResult::affine.
  virtual ModelLearning model_learning(const Options& options) const {
    (void)options;
    return {};
  }

  /// Scales s [k] for linears that share one input: the pipeline multiplies their columns by s and divides what produces the
  /// input by s, before quantize() is called on the changed weights (statistics changed alike). Empty: no change.
  virtual Result<std::vector<float>> input_scales(std::span<const LinearTask> group, const Options& options,
                                                  const MethodContext& context) const {
    (void)group, (void)options, (void)context;
    return std::vector<float>{};
  }

  /// Whether a row's codes and scales depend on that row alone, for matrices of k columns: the pipeline may then quantize some rows
  /// at a time, which come to rest in the processor's caches, and join the results.
  virtual bool by_rows(const Options& options, int64_t k) const {
    (void)options, (void)k;
    return false;
  }

  /// Never modifies the task. Numerical trouble ends in a note, not in an error; NaN or infinity in the weight is an error
  /// naming row and column.
  virtual Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                        const MethodContext& context) const = 0;
};

/// All methods, in the order of methods.inc.
std::span<const Method* const> methods();
Result<const Method*> find_method(std::string_view id);  ///< the message lists the known ones

/// A recipe as on the command line: "gptq:bits=4,group=128,desc_act=true". "fp16", "bf16" and "fp32" keep weights dense.
/// Short names are understood and written out in `text` and in the options: group = group_size, block = block_size,
/// act_order = desc_act, symmetric = sym, damp_percent = damp.
struct Recipe {
  const Method* method = nullptr;
  Options options;
  std::string text;
};
Result<Recipe> parse_recipe(std::string_view text);

}  // namespace nbl::quant
