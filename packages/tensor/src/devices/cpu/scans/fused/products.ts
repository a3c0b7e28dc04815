/**
 * Products of decays beyond the range of f32: numbers near 1, real or complex, times a power of two, whose exponent is an i32.
 * A tiny state behind growing decays, or a huge one behind shrinking ones, is then what the steps by themselves make of it.
 */
import { f32x4, i32, i32x4, v128, type Code, type Local } from "../../wasm/emitter.js";

const { add, sub, maxS, minS, shl, shrS, shrU } = i32x4;
const EXPONENT = i32x4.const(0x7f800000);

/**
 * Brings a number near 1 and counts the powers of two that takes, by `power` in between. Less than 1 times the largest decay is
 * below 2^128, so the power is a normal number, or all but.
 */
export function nearOne(parts: readonly Local[], exponent: Local, power: Local): Code {
  const size = parts.map((part) => v128.and(part.get, EXPONENT)).reduce((a, b) => maxS(a, b));
  return [
    power.set(maxS(sub(i32x4.const(0x7e800000), size), i32x4.const(0x00800000))),
    parts.map((part) => part.set(f32x4.mul(part.get, power.get))),
    exponent.set(add(exponent.get, sub(i32x4.const(127), shrU(power.get, i32.const(23))))),
  ];
}

/** 2^exponent as two factors, so that no product with a number that fits is lost on the way. */
export function halvesOf(exponent: Code, half: Local, rest: Local): Code {
  const power = (x: Code): Code =>
    shl(add(maxS(minS(shrS(x, i32.const(1)), i32x4.const(127)), i32x4.const(-126)), i32x4.const(127)), i32.const(23));
  return [half.set(power(exponent)), rest.set(power(add(exponent, i32x4.const(1))))];
}
