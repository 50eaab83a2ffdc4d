// Fuzz target: any bytes as a GGUF file, and all that can be asked of one that opens.
//
// Beside what sanitizers see, it checks what gguf.h promises of a file that opened: unique names
// that are found again, aligned data inside the file, sizes that agree with the types.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/format/dequantize.h"
#include "runtime/format/gguf.h"

namespace cormorant {
namespace {

void AskForEverything(const GgufFile& file, const GgufEntry& entry) {
  CORM_CHECK(file.FindValue(entry.key) == &entry.value);
  CORM_CHECK(RenderGgufValue(entry.value).size() < 1000);
  const bool is_array = entry.value.type == GgufValueType::kArray;
  int answers = 0;
  const auto count = [&answers](const auto& result) {
    CORM_CHECK(result.ok() || !result.status().message().empty());
    answers += result.ok();
  };
  count(file.Unsigned(entry.key));
  count(file.Number(entry.key));
  count(file.Bool(entry.key));
  count(file.String(entry.key));
  CORM_CHECK(!is_array || answers == 0);
  CORM_CHECK(is_array || answers >= 1);
  const auto strings = file.Strings(entry.key);
  const auto integers = file.Integers(entry.key);
  const auto floats = file.Floats(entry.key);
  CORM_CHECK(!strings.ok() || strings->size() == entry.value.count);
  CORM_CHECK(!integers.ok() || integers->size() == entry.value.count);
  CORM_CHECK(!floats.ok() || floats->size() == entry.value.count);
  CORM_CHECK(is_array || !(strings.ok() || integers.ok() || floats.ok()));
}

void ReadTensor(const GgufFile& file, const GgufTensor& tensor) {
  CORM_CHECK(file.FindTensor(tensor.name) == &tensor);
  CORM_CHECK(tensor.offset % file.alignment() == 0);
  CORM_CHECK(tensor.shape.size() >= 1 && tensor.shape.size() <= kGgufDimensionsMax);
  const std::span<const std::byte> data = file.Data(tensor);
  CORM_CHECK(data.size() == tensor.bytes && !data.empty());
  const std::optional<DType> type = ComputeType(tensor.type);
  if (!type.has_value()) return;
  CORM_CHECK(RowBytes(*type, tensor.elements()) == tensor.bytes);
  // Many tensors may claim the same bytes: a row of each is enough, if it is not too long.
  const uint64_t elements = tensor.shape[0];
  if (elements > 4096) return;
  std::vector<float> row(elements);
  Dequantize(*type, data.data(), elements, row.data());
}

}  // namespace
}  // namespace cormorant

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = cormorant::GgufFile::Parse(std::as_bytes(std::span(data, size)));
  if (!file.ok()) {
    CORM_CHECK(!file.status().message().empty() && file.status().message().size() < 1000);
    return 0;
  }
  for (const auto& entry : (*file)->entries()) cormorant::AskForEverything(**file, entry);
  for (const auto& tensor : (*file)->tensors()) cormorant::ReadTensor(**file, tensor);
  return 0;
}
