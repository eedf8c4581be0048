# km_floor(name FLOOR n LINK targets...): src/<name> as library km_<name>, linking every lower floor and `targets`.
foreach(level RANGE 0 4)
  set(KM_FLOORS_BELOW_${level} "")
endforeach()

function(km_floor name)
  cmake_parse_arguments(arg "" "FLOOR" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c)
  add_library(km_${name} STATIC ${sources})
  target_include_directories(km_${name} PUBLIC ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(km_${name} PUBLIC ${KM_FLOORS_BELOW_${arg_FLOOR}} PRIVATE ${arg_LINK} Threads::Threads m)
  set(KM_SOURCES_${name} ${sources} PARENT_SCOPE)
  math(EXPR above "${arg_FLOOR} + 1")
  foreach(level RANGE ${above} 4)
    set(KM_FLOORS_BELOW_${level} ${KM_FLOORS_BELOW_${level}} km_${name} PARENT_SCOPE)
  endforeach()
endfunction()

# Loops that the compiler may vectorize; which instruction set runs is chosen at run time (src/kernel/simd.h).
function(km_kernel_flags name)
  km_flags_of_loops(km_${name})
endfunction()

function(km_flags_of_loops target)
  target_compile_options(${target} PRIVATE -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp-simd)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(${target} PRIVATE -mprefer-vector-width=512)
  endif()
endfunction()

# km_embed(target file symbol): the file as `static const char symbol[]` in generated/<symbol>.h.
function(km_embed target file symbol)
  set(input ${PROJECT_SOURCE_DIR}/${file})
  set(output ${PROJECT_BINARY_DIR}/generated/${symbol}.h)
  add_custom_command(OUTPUT ${output} DEPENDS ${input} ${PROJECT_SOURCE_DIR}/src/embed.cmake
    COMMAND ${CMAKE_COMMAND} -DINPUT=${input} -DOUTPUT=${output} -DSYMBOL=${symbol}
      -P ${PROJECT_SOURCE_DIR}/src/embed.cmake VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
