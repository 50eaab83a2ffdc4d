// The log sink. See log.h.
#include "platform/log.h"

#include <mutex>

namespace cormorant {
namespace {

struct Sink {
  std::mutex mutex;
  LogSink fn = nullptr;
  void* user = nullptr;
  LogLevel level = LogLevel::kError;
};

Sink& TheSink() {
  static Sink* const sink = new Sink;  // Never destroyed: logging may outlive static destructors.
  return *sink;
}

}  // namespace

void SetLogSink(LogSink fn, void* user, LogLevel level) {
  Sink& sink = TheSink();
  const std::lock_guard<std::mutex> lock(sink.mutex);
  sink.fn = fn;
  sink.user = user;
  sink.level = level;
}

void Log(LogLevel level, const std::string& message) {
  Sink& sink = TheSink();
  const std::lock_guard<std::mutex> lock(sink.mutex);
  if (sink.fn != nullptr && level <= sink.level) {
    sink.fn(sink.user, static_cast<int>(level), message.c_str());
  }
}

}  // namespace cormorant
