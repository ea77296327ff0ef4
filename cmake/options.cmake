# Compiler options: what every file of ours is compiled with.
add_library(nibble_options INTERFACE)
target_compile_options(nibble_options INTERFACE -Wall -Wextra $<$<BOOL:${NIBBLE_WERROR}>:-Werror>)
target_include_directories(nibble_options INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
# Results must not depend on what the compiler chooses to fuse: every fused multiply-add is written as one.
target_compile_options(nibble_options INTERFACE -ffp-contract=off)
# GCC 12 warns of overlapping copies inside std::string's own operator+ and replace (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(nibble_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
# Two builds give the same bytes wherever they lie. Release objects name no path at all (tests/lint/hardening.py looks).
if(NOT NIBBLE_SANITIZE AND NOT NIBBLE_COVERAGE)
  target_compile_options(nibble_options INTERFACE $<$<CONFIG:Debug,RelWithDebInfo>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>)
endif()
if(NIBBLE_HARDEN)
  target_link_options(nibble_options INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
else()
  target_link_options(nibble_options INTERFACE -Wl,-z,norelro,-z,lazy)
endif()

if(NIBBLE_SANITIZE)
  target_compile_options(nibble_options INTERFACE -fsanitize=${NIBBLE_SANITIZE} -fno-omit-frame-pointer
                                                  -fno-sanitize-recover=all)
  target_link_options(nibble_options INTERFACE -fsanitize=${NIBBLE_SANITIZE})
endif()
if(NIBBLE_SANITIZE MATCHES "memory")
  # What a library wrote that was built without it is unknown to it. fmt is compiled with us instead of linked, the standard library is built
  # again (scripts/msan-libraries.sh) and comes last in every link, and the rest is told where it comes in (base/foreign.h).
  if(NOT EXISTS ${NIBBLE_MSAN_LIBRARIES}/libinstrumented.a)
    message(FATAL_ERROR "NIBBLE_MSAN_LIBRARIES: '${NIBBLE_MSAN_LIBRARIES}' holds no libinstrumented.a; run scripts/msan-libraries.sh first")
  endif()
  target_compile_definitions(nibble_options INTERFACE FMT_HEADER_ONLY=1)
  # Hidden from the installed libraries, which would call it without saying what of their arguments is written.
  string(APPEND CMAKE_CXX_STANDARD_LIBRARIES " ${NIBBLE_MSAN_LIBRARIES}/libinstrumented.a -lsupc++ -Wl,--exclude-libs,libinstrumented.a")
endif()
if(NIBBLE_FUZZ)
  target_compile_options(nibble_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(NIBBLE_COVERAGE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(nibble_options INTERFACE -fprofile-instr-generate -fcoverage-mapping)
  target_link_options(nibble_options INTERFACE -fprofile-instr-generate)
elseif(NIBBLE_COVERAGE)
  target_compile_options(nibble_options INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(nibble_options INTERFACE --coverage)
endif()

# Outside the kernels, conversions are spelled out too, and the code that reads files carries the usual guards: they cost
# nothing there, and kernels hold no buffers of their own to overrun.
add_library(nibble_strict INTERFACE)
target_link_libraries(nibble_strict INTERFACE nibble_options)
target_compile_options(nibble_strict INTERFACE -Wconversion)
if(NIBBLE_HARDEN)
  target_compile_options(nibble_strict INTERFACE -fstack-protector-strong)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(nibble_strict INTERFACE -fstack-clash-protection -fcf-protection)
  endif()
  if(NOT NIBBLE_SANITIZE)
    # Needs optimization; the sanitizers bring their own checks.
    target_compile_options(nibble_strict INTERFACE $<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE>
                                                   $<$<CONFIG:Release,RelWithDebInfo>:-D_FORTIFY_SOURCE=2>)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(nibble_strict INTERFACE -fno-stack-protector -fno-stack-clash-protection -fcf-protection=none)
endif()
