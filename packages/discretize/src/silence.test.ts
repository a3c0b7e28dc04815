import { neg, ones, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import {
  discretizeDense,
  discretizeDiagonal,
  discretizeDplr,
  discretizeDss,
  inverse,
  matrixExponential,
} from "./index.js";

test("what means nothing is named", () => {
  const [A, square] = [neg(ones([2])), ones([2, 2])];
  const pair = (shape: readonly number[]): { re: Tensor; im: Tensor } => ({ re: neg(ones(shape)), im: ones(shape) });
  const system = { A: pair([2, 3]), B: pair([2, 3]), P: pair([1, 2, 3]) };
  const calls: readonly [() => unknown, string][] = [
    [() => discretizeDiagonal(A, NaN, "zoh"), "dt, a number, got NaN"],
    [() => discretizeDiagonal(A, 1, "zoh", { alph: 1 } as never), "got alph"],
    [() => discretizeDense({ A: square } as never, 1, "zoh"), "a tensor for B"],
    [() => discretizeDplr(system, ones([2, 1]), "bilinear", { conjugatePairs: 1 as never }), "conjugatePairs"],
    [() => discretizeDss(pair([2, 3]), ones([2, 1]), 1.5), "the length L"],
    [() => matrixExponential(square, { squarings: -1 }), "squarings"],
    [() => matrixExponential(ones([2, 3])), "square matrices"],
    [() => inverse([[1]] as never), "expected a tensor"],
  ];
  for (const [call, named] of calls) expect(call).toThrow(named);
});
