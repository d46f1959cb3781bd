# What the targets have in common: driver families, tests, fuzz targets, nm checks.

# fx_drivers(out_sources common/store): the sources of every driver that common/store/drivers.def
# lists. The compiler reads the same file, so a new driver is one folder and one line.
function(fx_drivers out_sources folder)
  set(list ${PROJECT_SOURCE_DIR}/${folder}/drivers.def)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
  file(STRINGS ${list} lines REGEX "^FX_[A-Z_]+_DRIVER\\(")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^[A-Z_]+\\(([a-z0-9_]+)\\).*" "\\1" name "${line}")
    file(GLOB driver_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/${name}/*.c)
    if(NOT driver_sources)
      message(FATAL_ERROR "${folder}/drivers.def lists ${name}: no ${folder}/${name}/*.c")
    endif()
    list(APPEND sources ${driver_sources})
  endforeach()
  set(${out_sources} ${sources} PARENT_SCOPE)
endfunction()

# fx_parts(): adds every folder below this one that has a CMakeLists.txt.
function(fx_parts)
  file(GLOB lists CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*/CMakeLists.txt)
  foreach(list IN LISTS lists)
    cmake_path(GET list PARENT_PATH folder)
    add_subdirectory(${folder})
  endforeach()
endfunction()

# fx_door(fx_zip libzstd SOURCES zstd.c): a library over one foreign library found by pkg-config.
# Its include path and flags stay inside the door.
function(fx_door name package)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  pkg_check_modules(${name}_pkg REQUIRED IMPORTED_TARGET ${package})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC fx_base ${arg_LIBRARIES}
    PRIVATE PkgConfig::${name}_pkg fx_warnings)
endfunction()

# fx_test(unit/common/store/store_test fx_store): one test program. The path below tests/ names the
# test and the target; its first folder is the label.
function(fx_test path)
  string(REPLACE "/" "_" name ${path})
  string(REGEX MATCH "^[^/]+" label ${path})
  set(timeout_s 60)
  if(FX_SANITIZE STREQUAL "thread")
    set(timeout_s 120) # some ten times slower
  endif()
  add_executable(${name} ${PROJECT_SOURCE_DIR}/tests/${path}.c)
  target_link_libraries(${name} PRIVATE ${ARGN} fx_warnings cmocka)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  add_test(NAME ${path} COMMAND ${name})
  set_tests_properties(${path} PROPERTIES LABELS ${label} TIMEOUT ${timeout_s})
endfunction()

# fx_fuzz(fuzz/common/store/store_fuzz fx_store): a libFuzzer program in the presets fuzz and fuzz-cover;
# tests/fuzz/run.sh runs it for long. In the others it goes once over the inputs that are kept in
# tests/fuzz/corpus/NAME, found there by earlier runs.
function(fx_fuzz path)
  string(REPLACE "/" "_" name ${path})
  string(REGEX REPLACE "^fuzz_" "" corpus ${name})
  set(corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${corpus})
  add_executable(${name} ${PROJECT_SOURCE_DIR}/tests/${path}.c)
  target_link_libraries(${name} PRIVATE ${ARGN} fx_warnings)
  if(FX_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${path} COMMAND ${name} -runs=20000 -seed=1 -timeout=10 -max_len=4096 ${corpus})
  else()
    target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/support/replay.c)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    add_test(NAME ${path} COMMAND ${name} ${corpus})
  endif()
  set_tests_properties(${path} PROPERTIES LABELS fuzz TIMEOUT 60)
endfunction()

function(fx_core_libraries out_names folder)
  get_property(names DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  list(FILTER names INCLUDE REGEX "_core$")
  get_property(children DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(child IN LISTS children)
    fx_core_libraries(below ${child})
    list(APPEND names ${below})
  endforeach()
  set(${out_names} ${names} PARENT_SCOPE)
endfunction()

# Call last: sees the targets that exist by then.
function(fx_nm_checks)
  if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" OR FX_SANITIZE OR FX_COVERAGE)
    message(STATUS "nm checks skipped: instrumented or optimised code imports symbols of its own; "
      "the debug preset has them")
    return()
  endif()
  fx_core_libraries(cores ${PROJECT_SOURCE_DIR})
  foreach(core IN LISTS cores)
    add_test(NAME tidy/core_is_pure/${core}
      COMMAND ${PROJECT_SOURCE_DIR}/tests/tidy/core_is_pure.sh $<TARGET_FILE:${core}>)
    set_tests_properties(tidy/core_is_pure/${core} PROPERTIES LABELS tidy)
  endforeach()
  add_test(NAME tidy/banned_symbols
    COMMAND ${PROJECT_SOURCE_DIR}/tests/tidy/banned_symbols.sh ${PROJECT_BINARY_DIR})
  set_tests_properties(tidy/banned_symbols PROPERTIES LABELS tidy)
endfunction()
