/** Woodbury's identity, point by point of a frequency axis. */
import {
  complexMap,
  complexMul,
  complexReciprocal,
  complexScale,
  complexShift,
  complexSub,
  sliceAxis,
  type Complex,
  type Operand,
} from "@seqmix/tensor";

/**
 * S00 - S01 (1 + w S11)^-1 w S10 of a table of sums in blocks: rows are outputs and then R rows of the low-rank part, columns
 * inputs and then its R columns.
 * @param table [outputs+R inputs+R H F]
 * @param weight w, a number or [F]; 1 by default
 * @returns [outputs inputs H F]
 */
export function lowRankCorrection(
  table: Complex,
  {
    outputs: M,
    inputs: J,
    weight = 1,
  }: { readonly outputs: number; readonly inputs: number; readonly weight?: Operand },
): Complex {
  const R = table.re.shape[0]! - M;
  const block = (rows: readonly [number, number], columns: readonly [number, number]): Complex =>
    complexMap(table, (part) => sliceAxis(sliceAxis(part, 0, ...rows), 1, ...columns));
  const at = (k: number, from: number): readonly [number, number] => [from + k, from + k + 1];
  const ranks = Array.from({ length: R }, (_, r) => r);
  const matrix = ranks.map((r) =>
    ranks.map((k) => {
      const scaled = complexScale(block(at(r, M), at(k, J)), weight);
      return r === k ? complexShift(scaled, 1) : scaled;
    }),
  );
  const solved = eliminate(
    matrix,
    ranks.map((r) => complexScale(block(at(r, M), [0, J]), weight)),
  );
  return solved
    .map((x, r) => complexMul(block([0, M], at(r, J)), x))
    .reduce((total, part) => complexSub(total, part), block([0, M], [0, J]));
}

/** Gauss elimination without pivots: 1 + w S11 has a positive Hermitian part for stable systems whose rows are their columns. */
function eliminate(matrix: readonly (readonly Complex[])[], rhs: readonly Complex[]): Complex[] {
  if (rhs.length === 0) return [];
  const [[pivot, ...top], ...rows] = matrix as [[Complex, ...Complex[]], ...[Complex, ...Complex[]][]];
  const inverted = complexReciprocal(pivot);
  const [first, ...others] = rhs as [Complex, ...Complex[]];
  const factors = rows.map(([head]) => complexMul(head, inverted));
  const rest = eliminate(
    rows.map(([, ...tail], r) => tail.map((x, k) => complexSub(x, complexMul(factors[r]!, top[k]!)))),
    others.map((x, r) => complexSub(x, complexMul(factors[r]!, first))),
  );
  const known = rest.map((x, k) => complexMul(top[k]!, x)).reduce((total, x) => complexSub(total, x), first);
  return [complexMul(known, inverted), ...rest];
}
