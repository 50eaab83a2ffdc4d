// The one log sink of the process, set through the C API. Silent until it is set.
#pragma once
#include <string>

namespace cormorant {

enum class LogLevel : int { kError = 0, kWarning = 1, kInfo = 2, kDebug = 3 };

using LogSink = void (*)(void* user, int level, const char* message);
/// Messages up to `level` go to `sink`; null silences. Thread-safe.
void SetLogSink(LogSink sink, void* user, LogLevel level);
void Log(LogLevel level, const std::string& message);

}  // namespace cormorant
