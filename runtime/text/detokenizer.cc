// Whole characters out, the beginning of one held back. See detokenizer.h.
#include "runtime/text/detokenizer.h"

#include "absl/strings/strip.h"
#include "runtime/text/utf8.h"

namespace cormorant {

void Detokenizer::Push(uint32_t id, std::string* out, bool show_special) {
  absl::string_view piece = tokenizer_.Piece(id);
  if (!tokenizer_.is_cut_out(id)) {
    if (begins_ && tokenizer_.puts_space_first()) absl::ConsumePrefix(&piece, " ");
    begins_ = begins_ && tokenizer_.Piece(id).empty();
    return AppendBytes(piece, out);
  }
  const bool is_special = tokenizer_.is_special(id);
  if (is_special) Flush(out);
  if (!is_special || show_special) AppendBytes(piece, out);
  if (is_special) Flush(out);
  begins_ = true;
}

void Detokenizer::Flush(std::string* out) {
  if (!held_.empty()) *out += kReplacementChar;
  held_.clear();
  begins_ = true;
}

void Detokenizer::AppendBytes(absl::string_view bytes, std::string* out) {
  held_.append(bytes.data(), bytes.size());
  absl::string_view rest = held_;
  while (!rest.empty()) {
    const size_t valid = ValidUtf8Bytes(rest);
    out->append(rest.data(), valid);
    rest.remove_prefix(valid);
    if (rest.empty()) break;
    const Utf8Part part = FirstUtf8Part(rest);
    if (part.kind == Utf8Part::Kind::kCut) break;
    *out += kReplacementChar;
    rest.remove_prefix(part.bytes);
  }
  held_.erase(0, held_.size() - rest.size());
}

}  // namespace cormorant
