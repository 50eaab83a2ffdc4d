// Reads lines from a person (editing and history through libedit) or from a pipe.
#pragma once
#include <memory>
#include <string>

namespace cli {

class LineEditor {
 public:
  enum class Event { kLine, kEnd, kInterrupted };

  LineEditor();
  ~LineEditor();

  /// The next line without its end. kEnd at the end of input or Ctrl-D on an empty line;
  /// kInterrupted when Ctrl-C gave the line up.
  Event ReadLine(const std::string& prompt, std::string& line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cli
