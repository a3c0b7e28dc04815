/**
 * Products of decays beyond the range of f32: a number near 1, real or complex, times a power of two, whose exponent is an i32.
 * A tiny state behind growing decays, or a huge one behind shrinking ones, is then what the steps by themselves make of it.
 */
import { advance, partsOf, type Writer } from "./scope.js";

const FUNCTIONS = {
  // Less than 1 times the largest decay is below 2^128, so the power is a normal number, or all but.
  nearOne: `// the power of two that brings a number of this size near 1; its exponent is 127 more than it says
fn nearOne(size: u32) -> u32 { return u32(max(0x7e800000 - i32(size & 0x7f800000u), 0x00800000)); }`,
  halfPower: `// 2^(exponent / 2), rounded down; that of exponent + 1 is the other half
fn halfPower(exponent: i32) -> f32 { return bitcast<f32>(u32(clamp(exponent >> 1u, -126, 127) + 127) << 23u); }`,
};

function use({ module }: Writer, name: keyof typeof FUNCTIONS): void {
  if (!module.includes(FUNCTIONS[name])) module.push(FUNCTIONS[name]);
}

/** Statements that multiply the product in variables `p` and `exponent` by a decay. */
export function multiply(
  writer: Writer,
  decay: readonly string[],
  p: readonly string[],
  exponent: string,
  lines: string[],
): void {
  use(writer, "nearOne");
  const parts = partsOf(writer.layout);
  const before = p.map((name) => writer.named(name, lines));
  const product = advance(
    decay,
    before,
    parts.map(() => "0.0"),
  ).map((value) => writer.named(value, lines));
  const sizes = product.map((value) => `bitcast<u32>(${value})${product.length > 1 ? " & 0x7f800000u" : ""}`);
  const power = writer.named(`nearOne(${sizes.length > 1 ? `max(${sizes.join(", ")})` : sizes[0]})`, lines);
  p.forEach((name, part) => lines.push(`${name} = ${product[part]} * bitcast<f32>(${power});`));
  lines.push(`${exponent} += 127 - i32(${power} >> 23u);`);
}

/**
 * product x + y, or its conjugate times x with `sign` -1.
 * @param zero When the product is 0, even of infinity.
 */
export function apply(
  writer: Writer,
  { p, exponent }: { readonly p: readonly string[]; readonly exponent: string },
  x: readonly string[],
  y: readonly string[],
  sign: 1 | -1,
  lines: string[],
  zero?: string,
): string[] {
  use(writer, "halfPower");
  const half = writer.named(`halfPower(${exponent})`, lines);
  const rest = writer.named(`halfPower(${exponent} + 1)`, lines);
  const scaled = x.map((value) => writer.named(`${value} * ${half}`, lines));
  const products = advance(
    p,
    scaled,
    scaled.map(() => "0.0"),
    sign,
    zero,
  );
  return products.map((value, part) => `(${value}) * ${rest} + ${y[part]}`);
}
