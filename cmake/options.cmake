# Compiler options: what every file of ours is compiled with.
add_library(nibble_options INTERFACE)
target_compile_options(nibble_options INTERFACE -Wall -Wextra $<$<BOOL:${NIBBLE_WERROR}>:-Werror>)
# GCC 12 warns of overlapping copies inside std::string's own operator+ and replace (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(nibble_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
target_include_directories(nibble_options INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR})
# Results must not depend on what the compiler chooses to fuse: every fused multiply-add is written as one.
target_compile_options(nibble_options INTERFACE -ffp-contract=off)

if(NIBBLE_SANITIZE)
  target_compile_options(nibble_options INTERFACE -fsanitize=${NIBBLE_SANITIZE} -fno-omit-frame-pointer
                                                  -fno-sanitize-recover=all)
  target_link_options(nibble_options INTERFACE -fsanitize=${NIBBLE_SANITIZE})
endif()

# Outside the kernels, conversions are spelled out too.
add_library(nibble_strict INTERFACE)
target_link_libraries(nibble_strict INTERFACE nibble_options)
target_compile_options(nibble_strict INTERFACE -Wconversion)
