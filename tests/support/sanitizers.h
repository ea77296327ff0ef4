// Which sanitizer this program was built with, whichever compiler built it: g++ defines a macro a sanitizer, clang answers __has_feature.
#pragma once

#if defined(__has_feature)
#define NBL_HAS_SANITIZER(name) __has_feature(name)
#else
#define NBL_HAS_SANITIZER(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || NBL_HAS_SANITIZER(address_sanitizer)
#define NBL_UNDER_ADDRESS_SANITIZER
#endif
#if defined(__SANITIZE_THREAD__) || NBL_HAS_SANITIZER(thread_sanitizer)
#define NBL_UNDER_THREAD_SANITIZER
#endif
#if NBL_HAS_SANITIZER(memory_sanitizer)
#define NBL_UNDER_MEMORY_SANITIZER
#endif
#if defined(NBL_UNDER_ADDRESS_SANITIZER) || defined(NBL_UNDER_THREAD_SANITIZER) || defined(NBL_UNDER_MEMORY_SANITIZER)
#define NBL_UNDER_SANITIZER
#endif

namespace nbl::testing {

/// How many times as long work may take under a sanitizer, built without optimization.
#ifdef NBL_UNDER_SANITIZER
constexpr int kSanitizerSlowdown = 20;
#else
constexpr int kSanitizerSlowdown = 1;
#endif

}  // namespace nbl::testing
