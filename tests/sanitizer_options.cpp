// Linked into the test programs of sanitizer builds. An allocation that cannot be had must fail as it does without a
// sanitizer: the tests look at what becomes of it.
#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED const char* __asan_default_options();
EXPORTED const char* __tsan_default_options();
EXPORTED const char* __msan_default_options();
EXPORTED const char* __asan_default_options() { return "allocator_may_return_null=1"; }
EXPORTED const char* __tsan_default_options() { return "allocator_may_return_null=1"; }
EXPORTED const char* __msan_default_options() { return "allocator_may_return_null=1"; }
