// Ctrl-C. Inside an InterruptScope the first one is only remembered, so that the running call can
// end cleanly through its callback; anywhere else, and the second time, it ends the process at
// once.
#pragma once

namespace cli {

/// Installs the handler; call once, first thing in main().
void InstallInterruptHandler();

/// Whether Ctrl-C was pressed since the innermost scope began.
bool Interrupted();

/// While one exists, Ctrl-C is a request. Not nested.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

}  // namespace cli
