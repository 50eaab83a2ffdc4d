// The one place that holds volk's code. It has no dependency on libvulkan: that is opened at run
// time, and its absence is an ordinary result.
#define VOLK_IMPLEMENTATION
#include <volk.h>
