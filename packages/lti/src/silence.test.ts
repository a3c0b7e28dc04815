import { neg, ones, type Tensor } from "@seqmix/tensor";
import { expect, test } from "vitest";
import {
  beforeTransform,
  convolve,
  diagonalKernel,
  diagonalSystem,
  dplrKernel,
  matrixPower,
  stepsAtRate,
  withinBand,
} from "./index.js";

test("what means nothing is named", () => {
  const pair = (shape: readonly number[]): { re: Tensor; im: Tensor } => ({ re: neg(ones(shape)), im: ones(shape) });
  const system = { dt: ones([2, 1]), A: pair([2, 3]), B: pair([2, 3]), C: pair([1, 2, 3]) };
  const lowRank = { ...system, P: pair([1, 2, 3]) };
  const calls: readonly [() => unknown, string][] = [
    [() => diagonalSystem(system, { rules: "zoh" } as never), "got rules"],
    [() => diagonalSystem(system, { conjugatePairs: "no" as never }), "conjugatePairs true or false"],
    [() => diagonalKernel(system, 1.5), "got 1.5"],
    [() => dplrKernel(lowRank, 4, { rate: 0 }), "rate, a number above 0, got 0"],
    [() => dplrKernel(lowRank, 4, { truncation: 4.5 }), "the truncation"],
    [() => matrixPower(ones([1, 2, 2]), -1), "the power L"],
    [() => stepsAtRate(4, NaN), "rate, a number above 0, got NaN"],
    [() => withinBand(ones([2]), -1), "bandlimit"],
    [() => beforeTransform(1, "foo" as never), "transform"],
    [() => convolve(diagonalSystem(system), ones([1, 2, 4]), undefined, { skips: ones([2]) } as never), "got skips"],
  ];
  for (const [call, named] of calls) expect(call).toThrow(named);
});
