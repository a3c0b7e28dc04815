/** Small pieces of texts. */

/** The numbers from 0 to n - 1. */
export const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

/** Lines that are not empty. */
export const lines = (...text: (string | readonly string[])[]): string => text.flat().filter(Boolean).join("\n");

/** Packs 8 numbers as f16, and finds the part of a number that has eleven bits: with integers, as a difference may be folded to 0. */
export const PACKING = `fn pack8(x: vec4<f32>, y: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(pack2x16float(x.xy), pack2x16float(x.zw), pack2x16float(y.xy), pack2x16float(y.zw));
}
// The nearest number of eleven bits.
fn highPart(x: vec4<f32>) -> vec4<f32> {
  return bitcast<vec4<f32>>((bitcast<vec4<u32>>(x) + vec4<u32>(0x1000u)) & vec4<u32>(0xffffe000u));
}
`;

/** Statements: `slope`, ALiBi's of `head`, to the base two; see `alibiSlope`. */
export const ALIBI_SLOPE = `let wholePower = f32(1u << firstLeadingBit(u32(p.H)));
let slopeStep = select(f32(head) - wholePower + 0.5, f32(head + 1), f32(head) < wholePower);
let slope = exp2(-8.0 * slopeStep / wholePower) * ${Math.LOG2E};`;

/** Rows of an operand with one exponent. */
export const CHUNK = 64;

/**
 * Statements: `least`, the smallest of each of four numbers over the workgroup, given those of a thread as vec4<f32>. They
 * meet in `tiles`, which nothing else may use at the time; `threads` is a power of two.
 */
export const leastOfAll = (own: string, threads: number): string => `tiles[lane] = bitcast<vec4<u32>>(${own});
workgroupBarrier();
for (var half = ${threads / 2}; half > 0; half /= 2) {
  if (lane < half) {
    tiles[lane] = bitcast<vec4<u32>>(min(bitcast<vec4<f32>>(tiles[lane]), bitcast<vec4<f32>>(tiles[lane + half])));
  }
  workgroupBarrier();
}
let least = bitcast<vec4<f32>>(tiles[0]);
workgroupBarrier();`;
