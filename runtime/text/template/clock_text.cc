// The calendar, by hand: strftime depends on the locale. See clock_text.h.
#include "runtime/text/template/clock_text.h"

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/native.h"

namespace cormorant::jinja {
namespace {

struct Moment {
  int64_t year = 0;
  int month = 0, day = 0, hour = 0, minute = 0, second = 0;
  int weekday = 0;  // From Sunday.
  int day_of_year = 0;
};

constexpr absl::string_view kMonths[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
constexpr absl::string_view kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};

bool IsLeap(int64_t year) {
  return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/// Days since 1970 to a date of the Gregorian calendar (H. Hinnant, "chrono-compatible low-level
/// date algorithms", civil_from_days): years begin in March, eras have 400 of them.
Moment MomentOf(int64_t seconds) {
  constexpr int64_t kDaySeconds = 86'400;
  int64_t days = seconds / kDaySeconds;
  int64_t rest = seconds % kDaySeconds;
  if (rest < 0) {
    rest += kDaySeconds;
    --days;
  }
  Moment moment;
  moment.hour = static_cast<int>(rest / 3600);
  moment.minute = static_cast<int>(rest / 60 % 60);
  moment.second = static_cast<int>(rest % 60);
  moment.weekday = static_cast<int>(((days + 4) % 7 + 7) % 7);
  const int64_t shifted = days + 719'468;
  const int64_t era = (shifted >= 0 ? shifted : shifted - 146'096) / 146'097;
  const int64_t day_of_era = shifted - era * 146'097;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t month = (5 * day_of_year + 2) / 153;
  moment.day = static_cast<int>(day_of_year - (153 * month + 2) / 5 + 1);
  moment.month = static_cast<int>(month < 10 ? month + 3 : month - 9);
  moment.year = year_of_era + era * 400 + (moment.month <= 2);
  constexpr int kBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  moment.day_of_year =
      kBefore[moment.month - 1] + moment.day + (moment.month > 2 && IsLeap(moment.year));
  return moment;
}

/// A number with its width; without padding after %-, and with blanks where `fill` says so.
std::string Padded(int64_t number, size_t width, char fill, bool is_bare) {
  std::string digits = absl::StrCat(number);
  if (!is_bare && digits.size() < width) digits.insert(0, width - digits.size(), fill);
  return digits;
}

/// The number a letter stands for; false when it stands for text.
bool NumberOf(char letter, const Moment& m, bool is_bare, std::string* out) {
  const int hour12 = m.hour % 12 == 0 ? 12 : m.hour % 12;
  const auto put = [&](int64_t number, size_t width, char fill = '0') {
    *out += Padded(number, width, fill, is_bare);
    return true;
  };
  switch (letter) {
    case 'Y': return put(m.year, 1);
    case 'y': return put(m.year % 100, 2);
    case 'm': return put(m.month, 2);
    case 'd': return put(m.day, 2);
    case 'e': return put(m.day, 2, ' ');
    case 'H': return put(m.hour, 2);
    case 'I': return put(hour12, 2);
    case 'M': return put(m.minute, 2);
    case 'S': return put(m.second, 2);
    case 'f': return put(0, 6);
    case 'j': return put(m.day_of_year, 3);
    case 'w': return put(m.weekday, 1);
    case 'u': return put(m.weekday == 0 ? 7 : m.weekday, 1);
    case 'U': return put((m.day_of_year + 6 - m.weekday) / 7, 2);
    case 'W': return put((m.day_of_year + 6 - (m.weekday + 6) % 7) / 7, 2);
    default: return false;
  }
}

/// What a letter abbreviates, as another format; empty when it is none.
absl::string_view LongForm(char letter) {
  switch (letter) {
    case 'F': return "%Y-%m-%d";
    case 'T':
    case 'X': return "%H:%M:%S";
    case 'R': return "%H:%M";
    case 'D':
    case 'x': return "%m/%d/%y";
    case 'c': return "%a %b %e %H:%M:%S %Y";
    case 'r': return "%I:%M:%S %p";
    default: return "";
  }
}

absl::Status AppendClock(absl::string_view format, const Moment& m, std::string* out) {
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%' || at + 1 >= format.size()) {
      out->push_back(format[at]);
      continue;
    }
    char letter = format[++at];
    const bool is_bare = letter == '-' && at + 1 < format.size();
    if (is_bare) letter = format[++at];
    const absl::string_view long_form = LongForm(letter);
    if (!long_form.empty()) {
      CORM_RETURN_IF_ERROR(AppendClock(long_form, m, out));
    } else if (letter == 'B') {
      absl::StrAppend(out, kMonths[m.month - 1]);
    } else if (letter == 'b' || letter == 'h') {
      absl::StrAppend(out, kMonths[m.month - 1].substr(0, 3));
    } else if (letter == 'A') {
      absl::StrAppend(out, kDays[m.weekday]);
    } else if (letter == 'a') {
      absl::StrAppend(out, kDays[m.weekday].substr(0, 3));
    } else if (letter == 'p') {
      absl::StrAppend(out, m.hour < 12 ? "AM" : "PM");
    } else if (letter == 'n' || letter == 't' || letter == '%') {
      out->push_back(letter == 'n' ? '\n' : letter == 't' ? '\t' : '%');
    } else if (letter != 'z' && letter != 'Z' && !NumberOf(letter, m, is_bare, out)) {
      return Error("'%", std::string(1, letter), "' in a date format is not supported");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ClockText(absl::string_view format, int64_t unix_seconds,
                                      int64_t utc_offset_seconds) {
  // Years 0 to 9999, as Python has them.
  constexpr int64_t kFirst = -62'167'219'200, kLast = 253'402'300'799;
  const int64_t seconds = unix_seconds + utc_offset_seconds;
  if (seconds < kFirst || seconds > kLast) return Error("the clock is outside of years 0 to 9999");
  std::string out;
  CORM_RETURN_IF_ERROR(AppendClock(format, MomentOf(seconds), &out));
  return out;
}

}  // namespace cormorant::jinja
