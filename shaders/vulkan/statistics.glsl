// Statistics of queries: f32 sums, [tables][layers][query heads][1 + 5 E/2]. See QueryStatsOp in
// runtime/ops/ops.h.
const uint kPairSums = 5;

/// The first word of those of a query head of a layer.
uint StatisticsAt(uint table_layer, uint head, uint heads, uint head_dim) {
  return (table_layer * heads + head) * (1u + head_dim / 2u * kPairSums);
}
