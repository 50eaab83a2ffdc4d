// JSON, tables, figures and progress; see output.h.
#include "tools/cormorant/output.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "tools/cormorant/interrupt.h"

namespace cli {
namespace {

constexpr std::chrono::milliseconds kProgressPeriod(100);

/// Columns a terminal shows the text in: its UTF-8 characters.
size_t Width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789.,-%x+") == std::string::npos;
}

std::string ScalarText(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_unsigned()) return FormatCount(value.get<uint64_t>());
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool IsShortList(const Json& value) {
  if (!value.is_array()) return false;
  return std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_number(); });
}

void OnLog(void*, int level, const char* message) {
  static const char* const kNames[] = {"error", "warning", "info", "debug"};
  std::fprintf(stderr, "%s: %s\n", kNames[std::clamp(level, 0, 3)], message);
}

}  // namespace

void WriteStdout(const void* data, size_t bytes) {
  if (std::fwrite(data, 1, bytes, stdout) != bytes) {
    throw Failure(kFailed, std::string("cannot write to stdout: ") + std::strerror(errno));
  }
}

void PrintJson(const Json& value, int indent) {
  const std::string text = value.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
  WriteStdout(text.data(), text.size());
  std::fflush(stdout);
}

corm_memory_stats MemoryStats(const corm_engine* engine) {
  corm_memory_stats stats;
  corm_memory_stats_init(&stats);
  Check(corm_engine_get_memory(engine, &stats));
  return stats;
}

corm_kv_stats KvStats(const corm_session* session) {
  corm_kv_stats stats;
  corm_kv_stats_init(&stats);
  Check(corm_session_get_stats(session, &stats));
  return stats;
}

corm_engine_info EngineInfo(const corm_engine* engine) {
  corm_engine_info info;
  corm_engine_info_init(&info);
  Check(corm_engine_get_info(engine, &info));
  return info;
}

Json MemoryJson(const corm_engine* engine) {
  const corm_memory_stats stats = MemoryStats(engine);
  const ProcessMemory process = ReadProcessMemory();
  return Json{{"cap", stats.cap},
              {"used", stats.used},
              {"peak", stats.peak},
              {"weights", stats.weights},
              {"kv_pages", stats.kv_pages},
              {"kv_metadata", stats.kv_metadata},
              {"activations", stats.activations},
              {"staging", stats.staging},
              {"program", stats.program},
              {"kv_cap", stats.kv_cap},
              {"kv_peak", stats.kv_peak},
              {"host", stats.host},
              {"host_peak", stats.host_peak},
              {"device_budget", stats.device_budget},
              {"device_used", stats.device_used},
              {"memory_short", stats.memory_short},
              {"process_rss", process.rss_bytes},
              {"process_rss_peak", process.rss_peak_bytes}};
}

Json AuditJson(const corm_session* session) {
  char* text = nullptr;
  Check(corm_session_get_audit(session, &text));
  const TextPtr owner(text);
  return Json::parse(text);
}

Json KvJson(const corm_session* session, uint32_t layers) {
  const corm_kv_stats stats = KvStats(session);
  std::vector<double> rows(layers);
  Check(corm_session_get_layer_rows(session, rows.data(), rows.size()));
  return Json{{"tokens", stats.tokens},
              {"rows_kept", stats.rows_kept},
              {"rows_full", stats.rows_full},
              {"bytes", stats.bytes},
              {"bytes_full_f16", stats.bytes_full_f16},
              {"evicted_total", stats.evicted_total},
              {"evicted_forced", stats.evicted_forced},
              {"rebased", stats.rebased},
              {"host_rows", stats.host_rows},
              {"host_bytes", stats.host_bytes},
              {"retained_rows", stats.retained_rows},
              {"retained_bytes", stats.retained_bytes},
              {"next_position", stats.next_position},
              {"mode", stats.mode},
              {"per_layer", rows}};
}

corm_observed Observed(const corm_session* session) {
  corm_observed observed;
  corm_observed_init(&observed);
  Check(corm_session_get_observed(session, &observed));
  return observed;
}

Json ObservedJson(const corm_session* session) {
  const corm_observed seen = Observed(session);
  return Json{{"tokens", seen.tokens},
              {"compared", seen.compared},
              {"kl_mean", seen.kl_mean},
              {"kl_p99", seen.kl_p99},
              {"kl_max", seen.kl_max},
              {"top1_agreement", seen.top1_agreement},
              {"ppl_full", seen.perplexity_full},
              {"ppl", seen.perplexity_kept},
              {"ppl_ratio", seen.perplexity_kept / seen.perplexity_full},
              {"rows_kept", seen.rows_kept},
              {"bytes", seen.bytes},
              {"bytes_peak", seen.bytes_peak},
              {"evicted_total", seen.evicted_total},
              {"evicted_forced", seen.evicted_forced},
              {"rebased", seen.rebased},
              {"ended", seen.ended == nullptr ? Json() : Json(seen.ended)}};
}

ProcessMemory ReadProcessMemory() {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "VmRSS: %llu", &kib) == 1) memory.rss_bytes = kib * 1024;
    if (std::sscanf(line.c_str(), "VmHWM: %llu", &kib) == 1) memory.rss_peak_bytes = kib * 1024;
  }
  return memory;
}

std::string FormatBytes(uint64_t bytes) {
  static const char* const kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[48];
  std::snprintf(text, sizeof(text), "%.*f %s",
                unit == 0  ? 0
                : unit < 3 ? 1
                           : 2,
                value, kUnits[unit]);
  return text;
}

std::string FormatCount(uint64_t count) {
  std::string text = std::to_string(count);
  for (size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string FormatRate(double per_second) {
  if (!(per_second > 0)) return "-";
  char text[32];
  std::snprintf(text, sizeof(text), per_second < 10 ? "%.2f" : "%.1f", per_second);
  return text;
}

double Rate(uint64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  if (rows.empty()) return;
  const size_t columns = rows[0].size();
  std::vector<size_t> width(columns, 0);
  std::vector<bool> right(columns, rows.size() > 1);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < columns; ++c) {
      width[c] = std::max(width[c], Width(rows[r][c]));
      if (r > 0 && !IsNumber(rows[r][c])) right[c] = false;
    }
  }
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (size_t c = 0; c < columns; ++c) {
      const std::string space(width[c] - Width(row[c]), ' ');
      const bool last = c + 1 == columns;
      line += right[c] ? space + row[c] : row[c] + (last ? "" : space);
      if (!last) line += "  ";
    }
    line += "\n";
    WriteStdout(line.data(), line.size());
  }
}

void PrintTree(const Json& value, int indent) {
  const std::string space(static_cast<size_t>(indent), ' ');
  const auto line = [&](const std::string& text) {
    const std::string whole = space + text + "\n";
    WriteStdout(whole.data(), whole.size());
  };
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) {
      if (item.is_structured() && !item.empty() && !IsShortList(item)) {
        line(key + ":");
        PrintTree(item, indent + 2);
      } else {
        line(key + ": " + (item.is_structured() && item.empty() ? "none" : ScalarText(item)));
      }
    }
  } else if (value.is_array()) {
    for (const Json& item : value) {
      if (!item.is_structured()) {
        line("- " + ScalarText(item));
        continue;
      }
      line("-");
      PrintTree(item, indent + 2);
    }
  } else {
    line(ScalarText(value));
  }
}

void InstallLog(const OutputOptions& options) {
  const int level = options.quiet     ? CORM_LOG_ERROR
                    : options.verbose ? CORM_LOG_INFO
                                      : CORM_LOG_WARNING;
  corm_set_log(&OnLog, nullptr, level);
}

Progress::Progress(const OutputOptions& options, std::string what)
    : enabled_(!options.quiet && isatty(STDERR_FILENO) != 0), what_(std::move(what)) {
  // Short work shows nothing at all.
  next_ = std::chrono::steady_clock::now() + 3 * kProgressPeriod;
}

void Progress::Show(uint64_t done, uint64_t total) {
  if (!enabled_ || total == 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kProgressPeriod;
  shown_ = true;
  const double percent = 100.0 * static_cast<double>(done) / static_cast<double>(total);
  std::fprintf(stderr, "\r\033[K%s: %.0f %%", what_.c_str(), percent);
  std::fflush(stderr);
}

void Progress::Clear() {
  if (!shown_) return;
  shown_ = false;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

int Progress::OnProgress(void* user, uint64_t done, uint64_t total) {
  static_cast<Progress*>(user)->Show(done, total);
  return Interrupted() ? 1 : 0;
}

}  // namespace cli
