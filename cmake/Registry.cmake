# Registries from file names.
#
# corm_registry(OUT FUNCTION PREFIX TYPE HEADER NAMES...) writes a .cc file that lists every name as
# `extern const TYPE PREFIX_<name>` and defines `std::span<const TYPE* const> FUNCTION()`. So a
# new architecture, policy or backend is a new file, and no list is edited by hand. NAMES are given
# by the caller: file names without extension.
function(corm_registry out function prefix type header)
  set(externs "")
  set(entries "")
  foreach(name IN LISTS ARGN)
    string(REPLACE "-" "_" name "${name}")
    string(APPEND externs "extern const ${type} ${prefix}_${name};\n")
    string(APPEND entries "    &${prefix}_${name},\n")
  endforeach()
  file(CONFIGURE OUTPUT "${out}" @ONLY CONTENT
"// Written by cmake/Registry.cmake from file names; do not edit.
#include \"${header}\"

namespace cormorant {
${externs}
std::span<const ${type}* const> ${function}() {
  static const ${type}* const kAll[] = {
${entries}  };
  return kAll;
}
}  // namespace cormorant
")
endfunction()
