// Load, quantize, generate, compare: nibble from C++.
//
//   quickstart MODEL CALIBRATION.txt EVALUATION.txt OUTPUT
#include <fstream>
#include <iostream>
#include <iterator>
#include <nibble/nibble.hpp>
#include <string>

static std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot open ") + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::cerr << "usage: " << argv[0] << " MODEL CALIBRATION.txt EVALUATION.txt OUTPUT\n";
    return 2;
  }
  const nibble::Runtime runtime;
  const nibble::Checkpoint original(runtime, argv[1]);

  nibble::Quantizer quantizer(runtime, "gptq:bits=4,group=64");
  quantizer.set("calibration.windows", "16");
  quantizer.set_calibration_text(read_file(argv[2]), argv[2]);
  quantizer.run(original, argv[4]);

  const nibble::Model model(runtime, argv[4]);
  nibble::Session session(model);
  const std::string prompt = "It was a bright morning, and";
  std::cout << prompt;
  session.generate(model.tokenizer().encode(prompt, NBL_ENCODE_SPECIAL), {.max_new_tokens = 40},
                   [](int32_t, std::string_view text) {
                     std::cout << text << std::flush;
                     return true;
                   });
  std::cout << "\n\n";

  nibble::Evaluation evaluation(runtime);
  evaluation.add_model(nibble::Model(original), "original");
  evaluation.add_model(model, "gptq 4 bit");
  evaluation.set_text(read_file(argv[3]), argv[3]);
  evaluation.set("windows", "4");
  std::cout << evaluation.compare();
  return 0;
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
