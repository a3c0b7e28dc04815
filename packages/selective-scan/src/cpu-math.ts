/** Elementary functions of the CPU programs, one f32x4 vector at a time. */
import { emitVectorFunction, f32x4, i32, i32x4, scratch, v128, type Code, type Local, type ValueType } from "@seqmix/tensor/wasm";

const { add, mul, sub } = f32x4;
const ONE = f32x4.const(1);

/** 1.5 * 2^23: adding it to a small number rounds that to a whole one, in the lowest bits of the sum. */
const ROUND = f32x4.const(12582912);
/** (2^r - 1) / r for |r| <= 1/2, relative error of 2^r 1e-7; highest power first. */
const EXP2 = [0.0013264727097477425, 0.009671512644907084, 0.05550733743581062, 0.24022242085260462, 0.6931469775989374].map((c) => f32x4.const(c)) as [Code, ...Code[]];

/**
 * Smallest exponent: 2^-100 stands for everything below. It wipes out any state just as well, and the products it
 * leaves are normal numbers; arithmetic on denormal ones is slow.
 */
const LOWEST = f32x4.const(-100);
/** Largest exponent: 2^128 is infinity. */
const HIGHEST = f32x4.const(128);

/** Sets `result` to 2^x; `whole` and `rest` are overwritten. Infinite beyond 2^128, 2^-100 from there downward, NaN for NaN. */
export function exp2(result: Local, x: Code, whole: Local, rest: Local): Code {
  const [first, ...others] = EXP2;
  return [
    rest.set(f32x4.pmin(f32x4.pmax(x, LOWEST), HIGHEST)),
    whole.set(add(rest.get, ROUND)),
    rest.set(sub(rest.get, sub(whole.get, ROUND))),
    result.set(add([...others, ONE].slice(0, -1).reduce<Code>((p, c) => add(mul(p, rest.get), c), first).length === 0 ? ONE : mul([...others].reduce<Code>((p, c) => add(mul(p, rest.get), c), first), rest.get), ONE)),
    result.set(i32x4.add(result.get, i32x4.shl(whole.get, i32.const(23)))),
  ];
}
