# The folders of src, lowest floor first, each with the folders whose public headers (include/kmask/<folder>.h) it may include and
# whose libraries it links. tests/floors.sh reads this list. kmask/batch.h is a plain struct that everyone may include.
set(KM_FOLDERS base text store kernel comm metric tokenizer corpus data model train modelfile run task study advise)
set(KM_MAY_INCLUDE_base)
set(KM_MAY_INCLUDE_text base)
set(KM_MAY_INCLUDE_store base)
set(KM_MAY_INCLUDE_kernel base)
set(KM_MAY_INCLUDE_comm base)
set(KM_MAY_INCLUDE_metric base text)
set(KM_MAY_INCLUDE_tokenizer base text)
set(KM_MAY_INCLUDE_corpus base text tokenizer store comm)
set(KM_MAY_INCLUDE_data base text tokenizer corpus)
set(KM_MAY_INCLUDE_model base kernel)
set(KM_MAY_INCLUDE_train base kernel comm corpus data model)
set(KM_MAY_INCLUDE_modelfile base tokenizer store kernel model)
set(KM_MAY_INCLUDE_run base store kernel comm tokenizer corpus data model train modelfile)
set(KM_MAY_INCLUDE_task base text store kernel comm metric tokenizer corpus data model train modelfile run)
set(KM_MAY_INCLUDE_study base store kernel comm tokenizer corpus data model train modelfile run)
set(KM_MAY_INCLUDE_advise base store kernel comm tokenizer corpus data model train modelfile run)
set(KM_MAY_INCLUDE_cli ${KM_FOLDERS})

# Third-party libraries: each is seen by one folder alone.
set(KM_LIBRARIES_base PkgConfig::CJSON PkgConfig::XXHASH PkgConfig::SODIUM)
set(KM_LIBRARIES_text PkgConfig::UTF8PROC PkgConfig::ICU)
set(KM_LIBRARIES_store hdf5::hdf5)
set(KM_LIBRARIES_kernel PkgConfig::OPENBLAS ${onednn_link})
set(KM_LIBRARIES_comm MPI::MPI_C)
set(KM_LIBRARIES_corpus ZLIB::ZLIB)

foreach(folder ${KM_FOLDERS})
  file(GLOB KM_SOURCES_${folder} CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${folder}/*.c)
  list(TRANSFORM KM_MAY_INCLUDE_${folder} PREPEND km_ OUTPUT_VARIABLE below)
  add_library(km_${folder} STATIC ${KM_SOURCES_${folder}})
  target_include_directories(km_${folder} PUBLIC ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(km_${folder} PUBLIC ${below} PRIVATE ${KM_LIBRARIES_${folder}} Threads::Threads m)
endforeach()
list(TRANSFORM KM_FOLDERS PREPEND km_ OUTPUT_VARIABLE KM_ALL_FOLDERS)

# Loops that the compiler may vectorize; which instruction set runs is chosen at run time (src/kernel/simd.h).
function(km_flags_of_loops target)
  target_compile_options(${target} PRIVATE -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp-simd)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(${target} PRIVATE -mprefer-vector-width=512)
  endif()
endfunction()
km_flags_of_loops(km_kernel)

# km_embed(target file symbol): the file as `static const char symbol[]` in generated/<symbol>.h.
function(km_embed target file symbol)
  set(input ${PROJECT_SOURCE_DIR}/${file})
  set(output ${PROJECT_BINARY_DIR}/generated/${symbol}.h)
  add_custom_command(OUTPUT ${output} DEPENDS ${input} ${PROJECT_SOURCE_DIR}/src/embed.cmake
    COMMAND ${CMAKE_COMMAND} -DINPUT=${input} -DOUTPUT=${output} -DSYMBOL=${symbol}
      -P ${PROJECT_SOURCE_DIR}/src/embed.cmake VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
