# The module of a backend that shares backends/gpu and shaders/gpu: CUDA or HIP.
#
# corm_gpu_module(NAME COMPILER FLAGS...): libcormorant_NAME.so in namespace NAME. Kernels are
# compiled by COMPILER with FLAGS, host code by the project's compiler. The vendor's libraries and
# include folders are added by the caller. Tools of vendors are called by name rather than as CMake
# languages: CMake's check of HIP fails with Debian's packages.
set(gpu_kernel_files kernels_attend.cc kernels_kv.cc kernels_matmul.cc kernels_rows.cc)
set(gpu_host_files device.cc gpu_backend.cc launches.cc launches_cache.cc
                   launches_matmul.cc plan.cc weights.cc)
list(TRANSFORM gpu_kernel_files PREPEND ${CMAKE_SOURCE_DIR}/backends/gpu/)
list(TRANSFORM gpu_host_files PREPEND ${CMAKE_SOURCE_DIR}/backends/gpu/)
file(GLOB gpu_shader_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/shaders/gpu/*)

function(corm_gpu_module name compiler)
  set(objects "")
  foreach(path IN LISTS gpu_kernel_files)
    get_filename_component(stem ${path} NAME_WE)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${stem}.o)
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${compiler} ${ARGN} -std=c++20 -O3 -DGPU_NAMESPACE=${name} -I${CMAKE_SOURCE_DIR}
              -c ${path} -o ${object}
      DEPENDS ${path} ${gpu_shader_files} ${CMAKE_SOURCE_DIR}/backends/gpu/kernels.h
      VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set(folder ${CMAKE_SOURCE_DIR}/backends/${name})
  add_library(cormorant_${name} MODULE ${folder}/${name}_backend.cc ${gpu_host_files} ${objects})
  target_compile_definitions(cormorant_${name} PRIVATE CORMORANT_VERSION="${PROJECT_VERSION}"
                             GPU_NAMESPACE=${name} GPU_API_NAMES="backends/${name}/api.inc")
  target_link_libraries(cormorant_${name} PRIVATE cormorant_core)
  target_link_options(cormorant_${name} PRIVATE
                      -Wl,--version-script=${folder}/exports.map)
endfunction()
