// What the matmul kernels share: their arguments, and how an output is stored.
layout(push_constant) uniform Arguments {
  Floats y, x;  // For matmul_dot x has quants: words [rows][blocks][16], high bytes, low bytes.
  Words quads, scales, step;
  uint rows_of_w, columns, blocks, tiles, live, accumulate;
  Floats x_scales;  // [rows][blocks][2], for matmul_dot.
};

/// The output of a row of x, of which there are `rows`, and a row of w, if there is such a one.
void Store(uint rows, uint row, uint row_of_w, float value) {
  if (row >= rows || row_of_w >= rows_of_w) return;
  const uint at = row * rows_of_w + row_of_w;
  y.v[at] = accumulate != 0 ? y.v[at] + value : value;
}
