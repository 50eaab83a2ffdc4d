// A GPU kernel as host code knows it: an entry and the size of its one argument, a struct.
//
// Everything for one kind of device (cuda, hip, an emulator) is in one namespace, GPU_NAMESPACE,
// so that several can be linked into one program.
#pragma once
#include <cstdint>

#ifndef GPU_NAMESPACE
#define GPU_NAMESPACE any_gpu  // Of a header that is compiled alone.
#endif

namespace cormorant::GPU_NAMESPACE {

struct Kernel {
  const char* name;
  const void* entry;  // What the device's launch function takes.
  uint32_t argument_bytes;
};

}  // namespace cormorant::GPU_NAMESPACE
