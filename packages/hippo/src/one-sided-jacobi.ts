/** Singular vectors by one-sided Jacobi rotations (Hestenes, 1958): accurate for small singular values too. */

/** Sweeps that no matrix here needs; convergence is quadratic. */
const MAX_SWEEPS = 60;

/**
 * Rotates columns in place until they are orthogonal: K becomes K V, whose columns' lengths are the singular values.
 * @param columns Columns of a square matrix; overwritten.
 * @returns The columns of the orthogonal V.
 * @throws RangeError if it does not converge, as with values that are no numbers.
 */
export function orthogonalizeColumns(columns: readonly Float64Array[]): Float64Array[] {
  const N = columns.length;
  const V = Array.from({ length: N }, (_, k) => Float64Array.from({ length: N }, (_unused, n) => (n === k ? 1 : 0)));
  const total = Math.sqrt(columns.reduce((size, column) => size + dot(column, column), 0));
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    let rotated = false;
    // Found anew in each sweep, and kept up to date within it.
    const squares = columns.map((column) => dot(column, column));
    for (let p = 0; p < N; p++) {
      for (let q = p + 1; q < N; q++) {
        const [a, b] = [columns[p]!, columns[q]!];
        const [aa, bb, ab] = [squares[p]!, squares[q]!, dot(a, b)];
        // Relative to both lengths; a column of nothing but rounding noise is left as it is.
        if (Math.abs(ab) <= 1e-15 * Math.sqrt(aa * bb) || Math.min(aa, bb) <= (1e-15 * total) ** 2) continue;
        rotated = true;
        const tau = (bb - aa) / (2 * ab);
        const t = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.hypot(1, tau));
        const c = 1 / Math.hypot(1, t);
        rotate(a, b, c, c * t);
        rotate(V[p]!, V[q]!, c, c * t);
        squares[p] = aa - t * ab;
        squares[q] = bb + t * ab;
      }
    }
    if (!rotated) return V;
  }
  throw new RangeError(
    `orthogonalizeColumns: expected convergence within ${MAX_SWEEPS} sweeps of a matrix of order ${N}, got none; check that its entries are finite`,
  );
}

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let n = 0; n < a.length; n++) total += a[n]! * b[n]!;
  return total;
}

function rotate(a: Float64Array, b: Float64Array, c: number, s: number): void {
  for (let n = 0; n < a.length; n++) {
    const [x, y] = [a[n]!, b[n]!];
    a[n] = c * x - s * y;
    b[n] = s * x + c * y;
  }
}
