// Linked into the test programs of sanitizer builds. An allocation that cannot be had must fail as it does without a
// sanitizer: the tests look at what becomes of it.
#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED const char* __asan_default_options();
EXPORTED const char* __tsan_default_options();
EXPORTED const char* __msan_default_options();
EXPORTED const char* __asan_default_options() { return "allocator_may_return_null=1"; }
EXPORTED const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
EXPORTED const char* __msan_default_options() { return "allocator_may_return_null=1"; }

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#include <filesystem>
#include <map>

#include "base/foreign.h"

// What the standard library writes behind its headers, where it is linked (with --wrap): the links of a std::map's nodes, and paths.
namespace {
using Node = std::_Rb_tree_node_base;
using Path = std::filesystem::path;
void written(const Path& path) {
  nbl::filled_elsewhere(&path, sizeof path);
  nbl::filled_elsewhere(path.native().data(), path.native().size() + 1);
}
}  // namespace

#pragma clang diagnostic ignored "-Wreturn-type-c-linkage"
#define REAL(name) __real_##name
#define WRAPPED(result, name, ...)          \
  extern "C" result REAL(name)(__VA_ARGS__); \
  EXPORTED result __wrap_##name(__VA_ARGS__); \
  EXPORTED result __wrap_##name(__VA_ARGS__)

WRAPPED(void, _ZSt29_Rb_tree_insert_and_rebalancebPSt18_Rb_tree_node_baseS0_RS_, bool left, Node* node, Node* parent, Node& header) {
  REAL(_ZSt29_Rb_tree_insert_and_rebalancebPSt18_Rb_tree_node_baseS0_RS_)(left, node, parent, header);
  nbl::filled_elsewhere(node, sizeof *node);
}
WRAPPED(void, _ZNSt10filesystem7__cxx114path5_ListC1Ev, void** list) {
  REAL(_ZNSt10filesystem7__cxx114path5_ListC1Ev)(list);
  nbl::filled_elsewhere(list, sizeof *list);
}
WRAPPED(void, _ZNSt10filesystem7__cxx114path5_ListC1ERKS2_, void** list, void* const* other) {
  REAL(_ZNSt10filesystem7__cxx114path5_ListC1ERKS2_)(list, other);
  nbl::filled_elsewhere(list, sizeof *list);
}
WRAPPED(Path&, _ZNSt10filesystem7__cxx114pathdVERKS1_, Path* path, const Path& more) {
  Path& result = REAL(_ZNSt10filesystem7__cxx114pathdVERKS1_)(path, more);
  written(*path);
  return result;
}
WRAPPED(Path, _ZNKSt10filesystem7__cxx114path11parent_pathEv, const Path* path) {
  Path result = REAL(_ZNKSt10filesystem7__cxx114path11parent_pathEv)(path);
  written(result);
  return result;
}
WRAPPED(Path, _ZNSt10filesystem19temp_directory_pathB5cxx11Ev) {
  Path result = REAL(_ZNSt10filesystem19temp_directory_pathB5cxx11Ev)();
  written(result);
  return result;
}
#endif
#endif
