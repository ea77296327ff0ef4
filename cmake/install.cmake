# cmake --install: the command, both libraries, the public headers, the built-in model, and how to find them (pkg-config and
# CMake); the same for a Python wheel; and the Debian package that CPack makes of it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(NOT TARGET nibble OR NOT TARGET nibble_command)
  return()
endif()

# What `builtin` means to the command, found beside the program.
function(nibble_install_share destination component)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples/models/prose-3.7m DESTINATION ${destination}/models
          COMPONENT ${component} PATTERN training.json EXCLUDE)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples/data DESTINATION ${destination} COMPONENT ${component})
endfunction()

if(SKBUILD)  # a wheel: everything inside the package's own folder
  install(TARGETS nibble LIBRARY DESTINATION . NAMELINK_SKIP COMPONENT python)
  install(TARGETS nibble_command RUNTIME DESTINATION bin COMPONENT python)
  install(DIRECTORY include/nibble DESTINATION include COMPONENT python FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
  nibble_install_share(share/nibble python)
  return()
endif()

install(TARGETS nibble_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
install(TARGETS nibble LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
install(TARGETS nibble_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(DIRECTORY include/nibble DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
        FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
# What the package is made of, for those who watch for vulnerable versions.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
  add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/nibble.cdx.json
                     COMMAND Python3::Interpreter -B ${PROJECT_SOURCE_DIR}/scripts/sbom.py ${PROJECT_BINARY_DIR}/nibble.cdx.json
                     DEPENDS ${PROJECT_SOURCE_DIR}/scripts/sbom.py ${PROJECT_SOURCE_DIR}/docs/dependencies.md
                             ${PROJECT_SOURCE_DIR}/CMakeLists.txt VERBATIM)
  add_custom_target(sbom ALL DEPENDS ${PROJECT_BINARY_DIR}/nibble.cdx.json)
  install(FILES ${PROJECT_BINARY_DIR}/nibble.cdx.json DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime OPTIONAL)
endif()
nibble_install_share(${CMAKE_INSTALL_DATADIR}/nibble runtime)

# The manual page and the completions are made from the command's own --help, so that they cannot fall behind it.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND AND NOT CMAKE_CROSSCOMPILING)
  add_custom_command(
    OUTPUT ${PROJECT_BINARY_DIR}/help/nibble.1 ${PROJECT_BINARY_DIR}/help/nibble.bash ${PROJECT_BINARY_DIR}/help/_nibble
    COMMAND Python3::Interpreter -B ${PROJECT_SOURCE_DIR}/scripts/help_pages.py $<TARGET_FILE:nibble_command>
            ${PROJECT_BINARY_DIR}/help
    DEPENDS nibble_command ${PROJECT_SOURCE_DIR}/scripts/help_pages.py
    VERBATIM)
  add_custom_target(help_pages ALL DEPENDS ${PROJECT_BINARY_DIR}/help/nibble.1)
  install(FILES ${PROJECT_BINARY_DIR}/help/nibble.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime OPTIONAL)
  install(FILES ${PROJECT_BINARY_DIR}/help/nibble.bash RENAME nibble COMPONENT runtime OPTIONAL
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${PROJECT_BINARY_DIR}/help/_nibble COMPONENT runtime OPTIONAL
          DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()

# A static link needs what the archive refers to; the shared library carries its own list. As libraries, not as required packages:
# pkg-config insists on those even where only the shared library is linked, whose users have none of these headers.
set(NIBBLE_PC_PRIVATE "-lstdc++ -lm -pthread")
if(NIBBLE_PARALLEL STREQUAL "openmp")
  string(APPEND NIBBLE_PC_PRIVATE " ${OpenMP_CXX_FLAGS}")
endif()
set(NIBBLE_STATIC_PACKAGES fmt simdjson libzstd libpcre2-8 libutf8proc sqlite3)
pkg_check_modules(NIBBLE_STATIC QUIET ${NIBBLE_STATIC_PACKAGES})
list(JOIN NIBBLE_STATIC_PACKAGES " " NIBBLE_PC_REQUIRES)
foreach(folder IN LISTS CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
  list(REMOVE_ITEM NIBBLE_STATIC_LDFLAGS "-L${folder}")
endforeach()
list(JOIN NIBBLE_STATIC_LDFLAGS " " NIBBLE_PC_LIBRARIES)
file(RELATIVE_PATH NIBBLE_PC_UP ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/nibble.pc.in nibble.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/nibble.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)

configure_package_config_file(cmake/nibbleConfig.cmake.in nibbleConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nibble
                              PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(nibbleConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/nibbleConfig.cmake ${PROJECT_BINARY_DIR}/nibbleConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nibble COMPONENT development)

# cpack -G DEB: one package, its dependencies read from the binaries by dpkg-shlibdeps. The Python package comes along, where
# Debian's Python looks for it.
set(CPACK_INSTALLED_DIRECTORIES ${PROJECT_SOURCE_DIR}/bindings/python/nibble usr/lib/python3/dist-packages/nibble)
set(CPACK_IGNORE_FILES "__pycache__" "[.]pyc$" "[.]so")
set(CPACK_PACKAGE_NAME nibble)
set(CPACK_PACKAGE_VENDOR nibble)
set(CPACK_PACKAGE_CONTACT "nibble <maintainers@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "quantize language models, run them on CPUs, measure what it cost")
set(CPACK_GENERATOR DEB)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "python3 (>= 3.9)")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "python3-numpy, g++, pkg-config")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/cmake/debian/prerm)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
include(CPack)
