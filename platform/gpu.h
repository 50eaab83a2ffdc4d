// Whether the machine shows a GPU at all, without asking any driver.
#pragma once
#include <string>

namespace cormorant {

/// Whether there may be a GPU. False only where the system would show one and does not, so that no
/// driver need be loaded to find none: on Linux, when no device node of a GPU is in `folder`.
/// Elsewhere always true. Cheap: one or two folders are listed.
bool MayHaveGpu(const std::string& folder = "/dev");

}  // namespace cormorant
