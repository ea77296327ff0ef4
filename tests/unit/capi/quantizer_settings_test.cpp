// Settings of quantizations through the C interface: sizes to be kept, rotation, calibration that the model writes, jobs that go on; and what
// is said of a checkpoint before a job.
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <vector>

#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

class QuantizerSettings : public testing::Test {
 protected:
  using Settings = std::vector<std::pair<const char*, std::string>>;

  Quantizer quantizer(const char* recipe, const Settings& settings, bool text = true) {
    nbl_quantizer* raw = nullptr;
    EXPECT_NBL_OK(nbl_quantizer_create(runtime_.get(), recipe, &raw));
    for (const auto& [name, value] : settings) EXPECT_NBL_OK(nbl_quantizer_set(raw, name, value.c_str())) << name;
    EXPECT_NBL_OK(nbl_quantizer_set(raw, "calibration.windows", "2"));
    EXPECT_NBL_OK(nbl_quantizer_set(raw, "calibration.length", "64"));
    static const std::string words = read_file(source_file("examples/data/calibration.txt")).substr(0, 20000);
    if (text) {
      EXPECT_NBL_OK(nbl_quantizer_set_calibration_text(raw, words.data(), words.size(), "calibration.txt"));
    }
    return Quantizer(raw);
  }
  Json run(const char* recipe, const char* output, const Settings& settings, bool text = true) {
    const Quantizer job = quantizer(recipe, settings, text);
    nbl_buffer* report = nullptr;
    EXPECT_NBL_OK(nbl_quantizer_run(job.get(), original_.get(), scratch_.file(output).c_str(), &report));
    return report == nullptr ? Json() : json_of(report);
  }
  std::string bytes(const char* output) { return read_file(scratch_.file(output)); }

  const Scratch scratch_;
  const Runtime runtime_ = make_runtime();
  const Checkpoint original_ = open_checkpoint(runtime_);
};

TEST_F(QuantizerSettings, BitsAreGivenOutToASize) {
  const std::string measured = scratch_.file("measured.json");
  const Json report = run("rtn", "first", {{"target_bpw", "4.5"}, {"measurement", measured}});
  const double bits = report.get_double("bits_per_weight").value();
  EXPECT_LE(bits, 4.5 + 1e-6);
  EXPECT_GT(bits, 3.5);
  std::set<double> widths;
  for (const Json& layer : report.find("layers")->elements()) widths.insert(layer.get_double("bits").value());
  EXPECT_GT(widths.size(), 1u) << "all layers alike";
  const std::string kept = read_file(measured);
  EXPECT_TRUE(Json::parse(kept, measured).ok());
  // What was measured is read the second time, and gives the same file without a text.
  run("rtn", "second", {{"target_bpw", "4.5"}, {"measurement", measured}});
  EXPECT_EQ(bytes("first"), bytes("second"));
  EXPECT_EQ(read_file(measured), kept);
  const Json smaller = run("rtn", "bytes", {{"target_bytes", std::to_string(bytes("first").size() * 9 / 10)}, {"measurement", measured}});
  EXPECT_LE(bytes("bytes").size(), bytes("first").size() * 9 / 10);
  EXPECT_LT(smaller.get_double("bits_per_weight").value(), bits);
  const Json close = run("rtn", "near", {{"target_kl", "0.001"}, {"measurement", measured}});
  const Json far = run("rtn", "far", {{"target_kl", "1"}, {"measurement", measured}});
  EXPECT_GT(close.get_double("bits_per_weight").value(), far.get_double("bits_per_weight").value());
}

TEST_F(QuantizerSettings, SizesThatCannotBeAreRefused) {
  nbl_buffer* report = nullptr;
  const std::string output = scratch_.file("m"), broken = scratch_.file("broken.json");
  const auto refused = [&](const Settings& settings, const char* word) {
    const Quantizer job = quantizer("rtn", settings);
    EXPECT_NE(nbl_quantizer_run(job.get(), original_.get(), output.c_str(), &report), NBL_OK) << word;
    EXPECT_NE(std::string(nbl_last_error()).find(word), std::string::npos) << nbl_last_error();
    EXPECT_FALSE(std::filesystem::exists(output));
  };
  refused({{"target_bpw", "4"}, {"target_kl", "1"}}, "together");
  refused({{"target_bpw", "0.5"}}, "bits");
  refused({{"target_bytes", "1000"}}, "bytes");
  std::ofstream(broken) << "{";
  refused({{"target_bpw", "4"}, {"measurement", broken}}, "broken.json");
  std::ofstream(broken) << "{}";
  refused({{"target_bpw", "4"}, {"measurement", broken}}, "broken.json");
  std::ofstream(broken) << R"({"model":"another"})";
  refused({{"target_bpw", "4"}, {"measurement", broken}}, "broken.json");
}

TEST_F(QuantizerSettings, RotationIsTheSameFunction) {
  run("fp32", "turned", {{"rotation", "hadamard"}, {"seed", "3"}}, false);
  const Model plain = open_model(runtime_, NBL_COMPUTE_EXACT), turned = open_model(runtime_, NBL_COMPUTE_EXACT, scratch_.file("turned"));
  nbl_evaluation* raw = nullptr;
  ASSERT_NBL_OK(nbl_evaluation_create(runtime_.get(), &raw));
  const Evaluation evaluation(raw);
  EXPECT_NBL_OK(nbl_evaluation_add_model(raw, plain.get(), "plain"));
  EXPECT_NBL_OK(nbl_evaluation_add_model(raw, turned.get(), "turned"));
  const std::string text = read_file(source_file("examples/data/evaluation.txt")).substr(0, 4000);
  EXPECT_NBL_OK(nbl_evaluation_set_text(raw, text.data(), text.size(), nullptr));
  EXPECT_NBL_OK(nbl_evaluation_set(raw, "windows", "1"));
  nbl_buffer* out = nullptr;
  ASSERT_NBL_OK(nbl_evaluation_compare(raw, &out));
  const Json result = json_of(out);
  EXPECT_LT(result.find("candidates")->elements()[0].get_double("mean_kl").value(), 1e-6);
  // The weights are others nevertheless.
  nbl_qtensor *a = nullptr, *b = nullptr;
  const Checkpoint written = open_checkpoint(runtime_, scratch_.file("turned"));
  ASSERT_NBL_OK(nbl_qtensor_from_checkpoint(original_.get(), "model.layers.0.mlp.up_proj.weight", &a));
  const QTensor before(a);
  ASSERT_NBL_OK(nbl_qtensor_from_checkpoint(written.get(), "model.layers.0.mlp.up_proj.weight", &b));
  const QTensor after(b);
  std::vector<float> x(static_cast<std::size_t>(nbl_qtensor_rows(a) * nbl_qtensor_columns(a))), y(x.size());
  ASSERT_NBL_OK(nbl_qtensor_dequantize(a, 0, nbl_qtensor_rows(a), x.data(), nbl_qtensor_columns(a)));
  ASSERT_NBL_OK(nbl_qtensor_dequantize(b, 0, nbl_qtensor_rows(b), y.data(), nbl_qtensor_columns(b)));
  double difference = 0;
  for (std::size_t i = 0; i < x.size(); ++i) difference = std::max(difference, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
  EXPECT_GT(difference, 0.01);
}

TEST_F(QuantizerSettings, WithoutATextTheModelWritesItsOwn) {
  const Json report = run("gptq:group=64", "own", {{"seed", "5"}}, false);
  EXPECT_EQ(report.get_string("method").value(), "gptq");
  run("gptq:group=64", "again", {{"seed", "5"}}, false);
  EXPECT_EQ(bytes("own"), bytes("again"));
  run("gptq:group=64", "other", {{"seed", "6"}}, false);
  EXPECT_NE(bytes("own"), bytes("other"));
  const Quantizer job = quantizer("gptq", {{"calibration.self", "false"}}, false);
  nbl_buffer* out = nullptr;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "calibration", nbl_quantizer_run(job.get(), original_.get(), scratch_.file("none").c_str(), &out));
}

TEST_F(QuantizerSettings, AJobThatWasStoppedGoesOn) {
  run("gptq:group=64", "whole", {});
  struct Stop {
    int left;
    static int32_t call(void* user, const nbl_progress*) { return --static_cast<Stop*>(user)->left <= 0 ? 1 : 0; }
  };
  int stopped = 0;
  int64_t resumed = 0;
  for (const int calls : {12, 30, 1000000}) {
    const Quantizer job = quantizer("gptq:group=64", {{"resume", "true"}});
    Stop stop{calls};
    EXPECT_NBL_OK(nbl_quantizer_set_progress(job.get(), Stop::call, &stop));
    nbl_buffer* report = nullptr;
    const nbl_status status = nbl_quantizer_run(job.get(), original_.get(), scratch_.file("parts").c_str(), &report);
    if (status == NBL_E_CANCELLED) {
      ++stopped;
      EXPECT_TRUE(std::filesystem::exists(scratch_.file("parts.journal")));
      EXPECT_FALSE(std::filesystem::exists(scratch_.file("parts")));
      continue;
    }
    ASSERT_NBL_OK(status);
    resumed = json_of(report).get_int("resumed_layers").value();
  }
  EXPECT_EQ(stopped, 2);
  EXPECT_GT(resumed, 0);
  EXPECT_FALSE(std::filesystem::exists(scratch_.file("parts.journal")));
  EXPECT_EQ(bytes("parts"), bytes("whole"));
}

TEST_F(QuantizerSettings, AnotherJobsJournalIsRefused) {
  const auto begin = [&](const char* recipe, nbl_status expected) {
    const Quantizer job = quantizer(recipe, {{"resume", "true"}});
    int left = 30;
    const auto stop = [](void* user, const nbl_progress*) -> int32_t { return --*static_cast<int*>(user) <= 0 ? 1 : 0; };
    EXPECT_NBL_OK(nbl_quantizer_set_progress(job.get(), stop, &left));
    EXPECT_EQ(nbl_quantizer_run(job.get(), original_.get(), scratch_.file("m").c_str(), nullptr), expected) << nbl_last_error();
  };
  begin("gptq:group=64", NBL_E_CANCELLED);
  begin("gptq:group=32", NBL_E_MISMATCH);
  EXPECT_NE(std::string(nbl_last_error()).find("another job"), std::string::npos) << nbl_last_error();
}

TEST_F(QuantizerSettings, AWholeModelIsLearnedInEpochs) {
  const Json plain = run("autoround:bits=3,iters=2", "plain", {}), learned = run("autoround:bits=3,iters=2,epochs=1", "learned", {});
  EXPECT_EQ(plain.get_string("method").value(), learned.get_string("method").value());
  EXPECT_EQ(plain.get_double("bits_per_weight").value(), learned.get_double("bits_per_weight").value());
  EXPECT_NE(bytes("plain"), bytes("learned"));
}

TEST_F(QuantizerSettings, AnExaminationFindsWhatWouldSpoilAJob) {
  const auto status_of = [&](const Checkpoint& checkpoint, const std::string& text) {
    std::map<std::string, std::string> found;
    nbl_buffer* out = nullptr;
    EXPECT_NBL_OK(nbl_checkpoint_examine(checkpoint.get(), text.data(), text.size(), nullptr, nullptr, &out));
    const Json result = json_of(out);
    for (const Json& check : result.find("checks")->elements()) {
      EXPECT_FALSE(check.get_string("detail").value().empty());
      found[check.get_string("name").value()] = check.get_string("status").value();
    }
    return found;
  };
  auto good = status_of(original_, read_file(source_file("examples/data/calibration.txt")).substr(0, 20000));
  EXPECT_GE(good.size(), 5u);
  EXPECT_EQ(good["tokenizer"], "ok");
  for (const auto& [name, status] : good) EXPECT_NE(status, "fail") << name;

  // The same model with a dead channel, a NaN, and a configuration that names other tokens.
  const std::filesystem::path copy = scratch_.file("copy");
  std::filesystem::copy(model_path(), copy);
  std::string weights = read_file((copy / "model.safetensors").string());
  uint64_t header = 0;
  std::memcpy(&header, weights.data(), 8);
  const Json table = Json::parse(std::string_view(weights).substr(8, header), "header").value();
  const Json& place = *table.find("model.layers.0.mlp.up_proj.weight");
  const auto begin = static_cast<std::size_t>(place.find("data_offsets")->elements()[0].as_int()) + 8 + header;
  for (std::size_t i = 0; i < 8; ++i) weights[begin + i] = '\xff';
  std::ofstream(copy / "model.safetensors", std::ios::binary) << weights;
  std::string config = read_file((copy / "config.json").string());
  Json said = Json::parse(config, "config.json").value();
  said.set("eos_token_id", int64_t{77});
  said.set("bos_token_id", int64_t{78});
  std::ofstream(copy / "config.json") << said.dump();
  std::ofstream(copy / "chat_template.jinja") << "{% for m in messages %}<|nowhere|>{{ m.content }}{% endfor %}";
  const auto bad = status_of(open_checkpoint(runtime_, copy.string()), "short");
  int warnings = 0, failures = 0;
  for (const auto& [name, status] : bad) warnings += status == "warning", failures += status == "fail";
  EXPECT_GT(failures, 0) << "a NaN was not seen";
  EXPECT_GT(warnings, 1);

  std::ofstream(copy / "tokenizer.json") << "{";
  std::ofstream(copy / "chat_template.jinja") << "{% for %}";
  auto worse = status_of(open_checkpoint(runtime_, copy.string()), "");
  EXPECT_EQ(worse["tokenizer"], "fail");
}

}  // namespace
}  // namespace nbl::test
