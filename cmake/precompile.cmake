# Precompiled standard headers: a quarter of the time that clang takes over a build with sanitizers, which are its only use. What is shipped
# is compiled without them, file by file, so that a file that includes too little is found; g++ 12, which precompiles too, warns then of what
# it knows to be right in headers of the system.
if(NIBBLE_SANITIZE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  set(NIBBLE_PRECOMPILE ON)
else()
  set(NIBBLE_PRECOMPILE OFF)
endif()
set(NIBBLE_COMMON_HEADERS
    <fmt/format.h> <algorithm> <array> <atomic> <charconv> <chrono> <cmath> <cstdint> <cstring> <filesystem> <functional> <map> <memory>
    <mutex> <optional> <set> <span> <string> <string_view> <unordered_map> <utility> <variant> <vector>)

# nibble_precompile(NAME [PROGRAM] LINK libraries HEADERS headers OPTIONS options): a set of headers, compiled once with the options of
# those libraries; PROGRAM: for programs, whose code is position independent in another way.
function(nibble_precompile name)
  if(NOT NIBBLE_PRECOMPILE)
    return()
  endif()
  cmake_parse_arguments(arg "PROGRAM" "" "LINK;HEADERS;OPTIONS" ${ARGN})
  set(source ${PROJECT_BINARY_DIR}/precompiled/${name}.cpp)
  if(NOT EXISTS ${source})
    file(WRITE ${source} "int main() { return 0; }\n")
  endif()
  if(arg_PROGRAM)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
  else()
    add_library(${name} OBJECT ${source})
  endif()
  target_link_libraries(${name} PRIVATE ${arg_LINK})
  target_compile_options(${name} PRIVATE ${arg_OPTIONS})
  target_precompile_headers(${name} PRIVATE ${NIBBLE_COMMON_HEADERS} ${arg_HEADERS})
endfunction()

# nibble_precompiled(TARGET NAME): TARGET begins with NAME's headers. The two must be compiled with the same options.
function(nibble_precompiled target name)
  if(NIBBLE_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM ${name})
  endif()
endfunction()
