// The filters, by what they work on. FindFilter in native.h looks through all of them.
#pragma once
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/text/template/native.h"

namespace cormorant::jinja {

const NativeDef* FindTextFilter(absl::string_view name);
const NativeDef* FindNumberFilter(absl::string_view name);
const NativeDef* FindSequenceFilter(absl::string_view name);
const NativeDef* FindSelectionFilter(absl::string_view name);

/// What `attribute=` of many filters names: "a.b.0" walks inwards, "a,b" gives a list of both.
class AttributePath {
 public:
  /// Of none, the path that leads nowhere: the item itself.
  static absl::StatusOr<AttributePath> Parse(Heap& heap, const Value& attribute);

  absl::StatusOr<Value> Get(NativeCall& call, Value item, const Value& otherwise) const;

 private:
  std::vector<Value> steps_;
};

/// The key an item sorts by: its attribute, in lower case unless case counts.
absl::StatusOr<Value> SortKey(NativeCall& call, const AttributePath& path, const Value& item,
                              bool is_case_sensitive);

}  // namespace cormorant::jinja
