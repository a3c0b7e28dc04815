// What a recurrence in chunks takes beside them where its decays may grow, as the planner of a device has it.
import {
  broadcastTo,
  exp,
  explain,
  linearScan,
  mul,
  neg,
  sizeOf,
  softplus,
  sum,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { webgpu } from "../../index.js";

const device = await webgpu({ dawn: ["backend=null"] });
afterAll(() => device.close());

const draw = (shape: readonly number[]): Tensor => tensor(new Float32Array(sizeOf(shape)).fill(0.5), shape);

/** Matrix states [1 L H 128 64] written by values and the heads' keys, read by queries: how many passes they run in. */
async function passes(L: number, H: number, decayOf: (x: Tensor) => Tensor): Promise<number> {
  const [q, k] = [draw([1, L, 1, 128, 1]), draw([1, L, 1, 128, 1])];
  const a = decayOf(draw([1, L, H, 1, 1]));
  const b = mul(k, draw([1, L, H, 1, 64]));
  const y = sum(mul(linearScan({ a: broadcastTo(a, b.shape), b, axis: 1 }), q), 3);
  const found = /chunked scan .* (\d+) passes/.exec(await explain(y, { device }));
  expect(found).not.toBeNull();
  return Number(found![1]);
}

describe("the recurrence step by step, in case decays grow", () => {
  test("follows its chunks where decays may", async () => {
    expect(await passes(512, 2, exp)).toBeGreaterThan(await passes(512, 2, (x) => exp(neg(softplus(x)))));
  });

  test("is left out where it would take much more memory", async () => {
    expect(await passes(8192, 32, exp)).toBe(await passes(8192, 32, (x) => exp(neg(softplus(x)))));
  });
});
