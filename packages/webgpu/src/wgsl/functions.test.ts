import {
  atan,
  cos,
  erf,
  exp,
  expm1,
  log,
  log1p,
  maximum,
  minimum,
  opTable,
  realize,
  sigmoid,
  sin,
  softplus,
  tanh,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { elementwiseRecords, intrinsics, type Scalar } from "@seqmix/tensor/backend";
import { testDevice } from "../testing/test-device.js";
import { writeValues } from "./values.js";

const device = await testDevice();
afterAll(() => device.close());

/** Both signs of numbers spread evenly over the exponents from 2^low to 2^high. */
const spread = (low: number, high: number, count = 2000): Float32Array =>
  Float32Array.from(
    { length: 2 * count },
    (_, k) => (k % 2 === 0 ? 1 : -1) * 2 ** (low + ((high - low) * (k >> 1)) / count),
  );

async function values(x: Tensor): Promise<ArrayLike<number>> {
  await realize(x, { device });
  return x.data();
}

/** Largest error in units of the last place of the float32 result; differences below `floor` count as none. */
async function worst(
  f: (x: Tensor) => Tensor,
  exact: (x: number) => number,
  inputs: Float32Array,
  floor: number,
): Promise<number> {
  const actual = await values(f(tensor(inputs.slice())));
  let largest = 0;
  inputs.forEach((x, k) => {
    const expected = exact(x);
    const error = Math.abs(actual[k]! - expected);
    if (Object.is(actual[k], Math.fround(expected)) || error <= floor) return;
    largest = Number.isNaN(error)
      ? Infinity
      : Math.max(largest, error / 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(expected)))) - 23));
  });
  return largest;
}

const sigmoidOf = (x: number): number => 1 / (1 + Math.exp(-x));

type Measured = readonly [name: string, (x: Tensor) => Tensor, (x: number) => number, Float32Array, floor: number];
const measured: readonly Measured[] = [
  ["exp", exp, Math.exp, spread(-30, 6.45), 0],
  ["expm1", expm1, Math.expm1, spread(-30, 6.4), 0],
  ["log", (x) => log(x), Math.log, spread(-125, 127).map(Math.abs), 1e-9],
  ["log1p", log1p, Math.log1p, spread(-40, -0.01), 1e-9],
  ["log1p of large numbers", log1p, Math.log1p, spread(0, 127).map(Math.abs), 1e-9],
  ["tanh", tanh, Math.tanh, spread(-30, 10), 0],
  ["sigmoid", sigmoid, sigmoidOf, spread(-30, 6.3), 0],
  ["softplus", softplus, (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), spread(-30, 6.3), 0],
  ["atan", atan, Math.atan, spread(-30, 127), 0],
  ["sin", sin, Math.sin, spread(-30, 12.9), 1e-8],
  ["cos", cos, Math.cos, spread(-30, 12.9), 1e-8],
  ["sin of large angles", sin, Math.sin, spread(13, 127), 1e-8],
  ["cos of large angles", cos, Math.cos, spread(13, 127), 1e-8],
];
/** Every function of one number that is no instruction: those not measured above, over all f32 numbers. */
const functions = opTable.flatMap(({ name, samples }) => {
  const record = elementwiseRecords[name];
  return record?.arity === 1 && record.cost === "dear" ? [{ name, record, apply: samples[0]!.apply }] : [];
});
const others = functions
  .filter(({ name }) => name !== "erf" && !measured.some(([known]) => known === name))
  .map(({ name, record, apply }): Measured => [name, apply, record.number, spread(-125, 127), record.near ?? 0]);

test.each([...measured, ...others])("%s is within 4 units in the last place", async (_, f, exact, inputs, floor) => {
  expect(await worst(f, exact, inputs, floor)).toBeLessThan(4);
});

test("erf is odd, and between its bounds", async () => {
  const inputs = spread(-20, 4);
  const actual = await values(erf(tensor(inputs)));
  for (let k = 0; k < inputs.length; k += 2) expect(actual[k]).toBe(-actual[k + 1]!);
  for (let k = 2; k < inputs.length; k += 2) expect(actual[k]).toBeGreaterThanOrEqual(actual[k - 2]! - 2e-7);
  expect(actual[inputs.length - 2]).toBe(1);
});

test.each(functions)("NaN stays NaN: $name", async ({ apply }) => {
  expect(Array.from(await values(apply(tensor([NaN, NaN]))))).toEqual([NaN, NaN]);
});

test("infinities", async () => {
  const at = async (f: (x: Tensor) => Tensor): Promise<number[]> =>
    Array.from(await values(f(tensor([Infinity, -Infinity]))));
  expect(await at(exp)).toEqual([Infinity, 0]);
  expect(await at(expm1)).toEqual([Infinity, -1]);
  expect(await at(log)).toEqual([Infinity, NaN]);
  expect(await at(tanh)).toEqual([1, -1]);
  expect(await at(sigmoid)).toEqual([1, 0]);
  expect(await at(erf)).toEqual([1, -1]);
  expect(await at(sin)).toEqual([NaN, NaN]);
  expect(Array.from(await values(log(tensor([0, -0, -1]))))).toEqual([-Infinity, -Infinity, NaN]);
});

test("the smaller and the larger of a number and NaN are NaN", async () => {
  expect(Array.from(await values(maximum(tensor([1, NaN, 2]), tensor([NaN, 1, 3]))))).toEqual([NaN, NaN, 3]);
  expect(Array.from(await values(minimum(tensor([1, NaN, 2]), tensor([NaN, 1, 3]))))).toEqual([NaN, NaN, 2]);
});

test("every intrinsic has WGSL, and one without is an error that names the file", () => {
  const operand = (dtype: Scalar["dtype"], input: number): Scalar => ({
    op: "load",
    dtype,
    input,
    index: { offset: 0, coefficients: [1] },
  });
  const text = (name: string, dtype: Scalar["dtype"], arity: number): string[] =>
    writeValues(
      [{ op: name, dtype, args: Array.from({ length: arity }, (_, k) => operand(dtype, k)) } as unknown as Scalar],
      {
        axes: ["i"],
        loaded: () => undefined,
        read: (input, index) => `x${input}[${index}]`,
        reduced: [],
        functions: new Set(),
      },
      [],
    );
  for (const [name, { accepts, arity }] of Object.entries(intrinsics))
    expect(text(name, accepts[0] === "f16" ? "f32" : (accepts[0] as Scalar["dtype"]), arity)[0]).not.toMatch(
      /undefined/,
    );
  expect(() => text("nothing", "f32", 2)).toThrow(
    /intrinsic nothing, got none; write it in .*functions\.ts as nothing_/,
  );
});
