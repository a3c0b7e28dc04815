import {
  add,
  explain,
  key,
  matmul,
  mul,
  normal,
  realize,
  reference,
  sequentialScan,
  sigmoid,
  split,
  sub,
  tanh,
  transpose,
  vjp,
  type Device,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { testDevice } from "../testing/test-device.js";

const device = await testDevice({ poison: true });
afterAll(() => device.close());

type State = { readonly h: Tensor; readonly c: Tensor };
type Weights = { readonly w: Tensor; readonly b: Tensor };

/** Two gates and a candidate; h is put out, c is not. */
function step({ h, c }: State, x: Tensor, { w, b }: Weights): readonly [State, Tensor] {
  const N = h.shape[1]!;
  const [f, o, g] = split(add(add(matmul(h, transpose(w)), b), x), [N, N, N]) as [Tensor, Tensor, Tensor];
  const kept = sigmoid(f);
  const next = { c: add(mul(kept, c), mul(sub(1, kept), tanh(g))), h: tanh(mul(o, c)) };
  return [next, next.h];
}

interface Shape {
  readonly B: number;
  readonly L: number;
  readonly N: number;
  readonly reverse: boolean;
}

const run = ({ L, B, N, reverse }: Shape) =>
  vjp(
    ({ h, c, x, w, b }: State & Weights & { readonly x: Tensor }) =>
      sequentialScan({ step, initial: { h, c }, inputs: x, constants: { w, b }, reverse }),
    {
      h: normal(key(1), [B, N]),
      c: normal(key(2), [B, N]),
      x: normal(key(3), [L, B, 3 * N]),
      w: normal(key(4), [3 * N, N], 0, N ** -0.5),
      b: normal(key(5), [3 * N]),
    },
  );

async function valuesOf(on: Device, { L, B, N, ...how }: Shape): Promise<Record<string, ArrayLike<number>>> {
  const [y, pullBack] = run({ L, B, N, ...how });
  const cotangents = {
    outputs: normal(key(6), [L, B, N]),
    state: { h: normal(key(7), [B, N]), c: normal(key(8), [B, N]) },
  };
  const { h, c, x, w, b } = pullBack(cotangents);
  const made = await realize({ outputs: y.outputs, endH: y.state.h, endC: y.state.c, h, c, x, w, b }, { device: on });
  const entries = Object.entries(made).map(async ([name, tensor]) => [name, await tensor.data()] as const);
  return Object.fromEntries(await Promise.all(entries));
}

describe("a recurrence whose steps are a product and gates", () => {
  test.each<readonly [string, Shape]>([
    ["states of whole windows", { B: 4, L: 5, N: 16, reverse: false }],
    ["from the end", { B: 8, L: 4, N: 16, reverse: true }],
    ["one position", { B: 4, L: 1, N: 16, reverse: false }],
    ["states that are no windows, columns that are no whole workgroup", { B: 3, L: 3, N: 6, reverse: true }],
    ["widths that no vectors divide", { B: 2, L: 3, N: 5, reverse: false }],
    ["many rows", { B: 9, L: 2, N: 8, reverse: false }],
  ])("%s", async (_, shape) => {
    const [found, wanted] = [await valuesOf(device, shape), await valuesOf(reference(), shape)];
    for (const [name, want] of Object.entries(wanted)) {
      const largest = Math.max(1, ...Array.from(want, Math.abs));
      const errors = Array.from(want, (x, k) => Math.abs(x - found[name]![k]!) / largest);
      expect(Math.max(...errors), name).toBeLessThan(1e-5);
    }
  });

  test("a step is one kernel; backwards its product with the weights has been taken of all steps", async () => {
    const [y, pullBack] = run({ B: 4, L: 5, N: 16, reverse: false });
    const cotangents = {
      outputs: normal(key(6), [5, 4, 16]),
      state: { h: normal(key(7), [4, 16]), c: normal(key(8), [4, 16]) },
    };
    const text = await explain([y.outputs, pullBack(cotangents).w], { device });
    const [forwards, backwards] = text.match(/5 times: .*/g) as [string, string];
    expect(forwards).toBe("5 times: matmul 4x48x16, few rows, and a loop [4,16]");
    expect(backwards.match(/matmul/g)).toHaveLength(1);
    expect(text).toContain("matmul 20x48x16");
  });
});
