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

/** Rows of an operand with one exponent. */
export const CHUNK = 64;
