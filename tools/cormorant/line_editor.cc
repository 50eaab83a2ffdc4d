// Line editing through libedit; see line_editor.h. Where stdin is no terminal, lines are just read.
#include "tools/cormorant/line_editor.h"

#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <clocale>
#include <cstring>
#include <iostream>

#include "tools/cormorant/interrupt.h"

namespace cli {
namespace {

constexpr int kHistoryLines = 500;

/// Makes libedit take UTF-8 even where the environment names no locale.
void UseUtf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;

  static char* Prompt(EditLine* editor) {
    void* state = nullptr;
    el_get(editor, EL_CLIENTDATA, &state);
    return static_cast<State*>(state)->prompt.data();
  }
};

LineEditor::LineEditor() : state_(std::make_unique<State>()) {
  if (isatty(STDIN_FILENO) == 0) return;
  UseUtf8();
  // Editing is drawn on stderr: stdout carries results alone.
  state_->editor = el_init("cormorant", stdin, stderr, stderr);
  if (state_->editor == nullptr) return;
  state_->history = history_init();
  HistEvent event;
  history(state_->history, &event, H_SETSIZE, kHistoryLines);
  history(state_->history, &event, H_SETUNIQUE, 1);
  el_set(state_->editor, EL_CLIENTDATA, state_.get());
  el_set(state_->editor, EL_PROMPT, &State::Prompt);
  el_set(state_->editor, EL_EDITOR, "emacs");
  el_set(state_->editor, EL_HIST, history, state_->history);
  el_set(state_->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_source(state_->editor, nullptr);
}

LineEditor::~LineEditor() {
  if (state_->editor != nullptr) el_end(state_->editor);
  if (state_->history != nullptr) history_end(state_->history);
}

LineEditor::Event LineEditor::ReadLine(const std::string& prompt, std::string& line) {
  line.clear();
  if (state_->editor == nullptr) return std::getline(std::cin, line) ? Event::kLine : Event::kEnd;
  state_->prompt = prompt;
  int count = 0;
  const char* text = nullptr;
  {
    const InterruptScope scope;
    text = el_gets(state_->editor, &count);
    if (Interrupted()) {
      el_reset(state_->editor);
      return Event::kInterrupted;
    }
  }
  if (text == nullptr || count <= 0) return Event::kEnd;
  line.assign(text, static_cast<size_t>(count));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  if (!line.empty()) {
    HistEvent event;
    history(state_->history, &event, H_ENTER, line.c_str());
  }
  return Event::kLine;
}

}  // namespace cli
