// A task in lm-evaluation-harness's format on one model: nibble's evaluation from C++.
//
//   evaluate MODEL TASK.yaml
#include <fstream>
#include <iostream>
#include <iterator>
#include <nibble/nibble.hpp>
#include <string>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " MODEL TASK.yaml\n";
    return 2;
  }
  std::ifstream file(argv[2], std::ios::binary);
  if (!file) throw std::runtime_error(std::string("cannot open ") + argv[2]);
  const std::string definition{std::istreambuf_iterator<char>(file), {}};

  const nibble::Runtime runtime;
  nibble::Evaluation evaluation(runtime);
  evaluation.add_model(nibble::Model(runtime, argv[1]), argv[1]);
  evaluation.add_task_definition(definition, argv[2]);
  evaluation.set("samples", "true");
  evaluation.set("num_fewshot", "1");
  std::cout << evaluation.tasks() << '\n';
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
