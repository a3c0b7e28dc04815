/** Elementary functions of the CPU programs, one f32x4 vector at a time. */
import {
  emitVectorFunction,
  f32x4,
  i32,
  i32x4,
  scratch,
  v128,
  type Code,
  type Local,
  type ValueType,
} from "@seqmix/tensor/wasm";

const { add, div, mul, sub } = f32x4;
const ONE = f32x4.const(1);

/** Coefficients of x^n, ..., x, 1, by Horner's rule. */
const polynomial = (x: Code, [first, ...rest]: readonly [number, ...number[]]): Code =>
  rest.reduce<Code>((sum, c) => add(mul(sum, x), f32x4.const(c)), f32x4.const(first));

/** 1.5 * 2^23: adding it to a small number rounds that to a whole one, in the lowest bits of the sum. */
const ROUND = f32x4.const(12582912);
/** Coefficients of 1, r, ..., r^5 in 2^r for |r| <= 1/2: relative error 9e-8, by minimax approximation. */
const EXP2 = [
  1, 0.6931469775989374, 0.24022242085260462, 0.05550733743581062, 0.009671512644907084, 0.0013264727097477425,
].map((c) => f32x4.const(c)) as [Code, Code, Code, Code, Code, Code];

/**
 * Smallest exponent: 2^-100 stands for everything below. It wipes out a state just as well, and the products it
 * leaves are normal numbers; arithmetic on denormal ones is slow.
 */
const LOWEST = f32x4.const(-100);
/** 2^128 is infinity. */
const HIGHEST = f32x4.const(128);

/** Sets `result` to 2^x: infinity beyond 2^128, 2^-100 for everything smaller, NaN for NaN. The `temporaries` are overwritten. */
export function exp2(result: Local, x: Code, temporaries: readonly [Local, Local, Local]): Code {
  const [whole, r, square] = temporaries;
  /** c_i + c_(i+1) r; three of them shorten the chain that Horner's rule would be. */
  const pair = (i: 0 | 2 | 4): Code => add(EXP2[i], mul(EXP2[(i + 1) as 1 | 3 | 5], r.get));
  return [
    // pmax and pmin with the constant second keep a NaN.
    r.set(f32x4.pmin(f32x4.pmax(x, LOWEST), HIGHEST)),
    whole.set(add(r.get, ROUND)),
    r.set(sub(r.get, sub(whole.get, ROUND))),
    square.set(mul(r.get, r.get)),
    result.set(add(pair(0), mul(square.get, add(pair(2), mul(square.get, pair(4)))))),
    result.set(i32x4.add(result.get, i32x4.shl(whole.get, i32.const(23)))),
  ];
}

/** atanh(s) = s + s^3 P(s^2) for 0 <= s <= 1/3, halved: 2 atanh(s) = 2 s + s^3 P(s^2), P with an error of 5e-9. */
const ATANH = [0.28024459321417494, 0.2799914096225612, 0.40021699067642436, 0.6666641313252348] as const;

/**
 * Sets x to softplus(x) = max(x, 0) + log(1 + e^-|x|) and, where asked for, `slope` to its derivative, sigmoid(x).
 * log(1 + e) = 2 atanh(e / (2 + e)) has no cancellation for small e.
 */
export function softplus(newLocal: (type: ValueType) => Local, x: Local, slope?: Local): Code {
  const [e, s, square] = [newLocal("v128"), newLocal("v128"), newLocal("v128")] as const;
  const exponential = scratch(newLocal);
  emitVectorFunction(exponential, "exp", [f32x4.neg(f32x4.abs(x.get))], [e]);
  return [
    exponential.body,
    slope === undefined
      ? []
      : slope.set(div(v128.bitselect(ONE, e.get, f32x4.ge(x.get, f32x4.const(0))), add(e.get, ONE))),
    s.set(div(e.get, add(e.get, f32x4.const(2)))),
    square.set(mul(s.get, s.get)),
    x.set(
      add(
        f32x4.pmax(x.get, f32x4.const(0)),
        add(add(s.get, s.get), mul(mul(s.get, square.get), polynomial(square.get, ATANH))),
      ),
    ),
  ];
}

/** Sets `result` to sigmoid(x). */
export function sigmoid(newLocal: (type: ValueType) => Local, x: Code, result: Local): Code {
  const statements = scratch(newLocal);
  emitVectorFunction(statements, "sigmoid", [x], [result]);
  return statements.body;
}
