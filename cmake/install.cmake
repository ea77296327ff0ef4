# cmake --install: the command, both libraries, the public headers, and how to find them (pkg-config and CMake).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

if(TARGET nibble AND TARGET nibble_command)
  install(TARGETS nibble nibble_static nibble_command
          RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY include/nibble DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

  # A static link needs what the archive refers to; the shared library carries its own list.
  set(NIBBLE_PC_PRIVATE "-lstdc++ -lm -pthread")
  if(NIBBLE_PARALLEL STREQUAL "openmp")
    string(APPEND NIBBLE_PC_PRIVATE " ${OpenMP_CXX_FLAGS}")
  endif()
  file(RELATIVE_PATH NIBBLE_PC_UP ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  configure_file(cmake/nibble.pc.in nibble.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/nibble.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

  configure_package_config_file(cmake/nibbleConfig.cmake.in nibbleConfig.cmake
                                INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nibble
                                PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
  write_basic_package_version_file(nibbleConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/nibbleConfig.cmake ${CMAKE_BINARY_DIR}/nibbleConfigVersion.cmake
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/nibble)
endif()
