// What the commands print: JSON for machines, short figures and tables for people, progress on a
// terminal.
//
// Only results go to stdout. Progress, status lines, library messages and errors go to stderr, so
// that `cormorant ... --json | jq` always works.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tools/cormorant/options.h"

namespace cli {

using Json = nlohmann::ordered_json;

/// Prints `value` and a newline to stdout. Bytes that are not UTF-8 become U+FFFD.
void PrintJson(const Json& value, int indent = 2);
/// `text` to stdout exactly; throws a Failure when stdout takes it no more.
void WriteStdout(const void* data, size_t bytes);

/// memory{} of the documentation: the engine's ledger, and what the process takes by the kernel's
/// own count.
Json MemoryJson(const corm_engine* engine);
/// observed{} of the documentation: what a session in mode observe would have lost by dropping
/// rows.
Json ObservedJson(const corm_session* session);
corm_observed Observed(const corm_session* session);
/// kv{} of the documentation.
Json KvJson(const corm_session* session, uint32_t layers);
/// As corm_session_get_audit().
Json AuditJson(const corm_session* session);
corm_memory_stats MemoryStats(const corm_engine* engine);
corm_kv_stats KvStats(const corm_session* session);
corm_engine_info EngineInfo(const corm_engine* engine);

/// Resident bytes of this process now and at most so far; 0 where /proc does not say.
struct ProcessMemory {
  uint64_t rss_bytes = 0;
  uint64_t rss_peak_bytes = 0;
};
ProcessMemory ReadProcessMemory();

/// "8.0 MiB", "1.25 GiB", "512 B".
std::string FormatBytes(uint64_t bytes);
/// "12,345".
std::string FormatCount(uint64_t count);
/// "98.4"; "-" for what cannot be said.
std::string FormatRate(double per_second);
/// `count` per second, or 0 when no time passed.
double Rate(uint64_t count, double seconds);

/// Rows of cells with aligned columns on stdout; the first row is the heading. Columns whose cells
/// are all numbers are right-aligned.
void PrintTable(const std::vector<std::vector<std::string>>& rows);
/// Any JSON as indented `key: value` lines on stdout.
void PrintTree(const Json& value, int indent = 0);

/// Sends the library's log to stderr at the level the options ask for.
void InstallLog(const OutputOptions& options);

/// One line on a terminal that says how far a long call is; nothing in a pipe or with --quiet.
class Progress {
 public:
  Progress(const OutputOptions& options, std::string what);
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Shows `done` of `total`, at most ten times a second.
  void Show(uint64_t done, uint64_t total);
  /// Takes the line off the terminal.
  void Clear();
  /// A corm_progress_fn; `user` is a Progress. Asks to cancel once Ctrl-C was pressed.
  static int OnProgress(void* user, uint64_t done, uint64_t total);

 private:
  const bool enabled_;
  const std::string what_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace cli
