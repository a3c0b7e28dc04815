import {
  cpu,
  cumsum,
  exp,
  key,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  softplus,
  stack,
  tensor,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { decayMask, passStates, resetsOfSegments, segsum, ssd, ssdStep, structuredMaskedAttention } from "./index.js";

const oracle = reference();
const values = async (x: Tensor): Promise<number[]> => {
  await realize(x, { device: oracle });
  return [...(await x.data())];
};
const expectClose = async (actual: Tensor, expected: Tensor, digits = 12): Promise<void> => {
  const [a, e] = [await values(actual), await values(expected)];
  expect(actual.shape).toEqual(expected.shape);
  e.forEach((value, k) => expect(a[k]).toBeCloseTo(value, digits));
};

const [B, L, H, P, G, N] = [2, 7, 4, 3, 2, 5];
const inputs = {
  x: normal(key(1), [B, L, H, P]),
  dt: normal(key(2), [B, L, H]),
  A: tensor([-0.5, -1, -2, -4]),
  B: normal(key(3), [B, L, G, N]),
  C: normal(key(4), [B, L, G, N]),
  D: normal(key(5), [H, P]),
  z: normal(key(6), [B, L, H, P]),
  dtBias: normal(key(7), [H]),
  h0: normal(key(8), [B, H, N, P]),
};
/** What a step takes too. */
const { h0, ...shared } = inputs;
const options = { dtSoftplus: true, dtLimit: [0.2, 1.5] } as const;

describe("ssd", () => {
  test("without decay, bias and gate it is causal linear attention with inputs dt x", async () => {
    const { y } = ssd({
      ...inputs,
      A: tensor([0, 0, 0, 0]),
      D: undefined,
      z: undefined,
      dtBias: undefined,
      h0: undefined,
    });
    const v = mul(inputs.x, reshape(inputs.dt, [B, L, H, 1]));
    await expectClose(y, structuredMaskedAttention({ q: inputs.C, k: inputs.B, v }).y);
  });

  test.each(["recurrent", "chunked", "quadratic"] as const)("%s: folded steps are the whole", async (algorithm) => {
    const { y, hT } = ssd(inputs, { ...options, algorithm, chunkSize: 3 });
    let h = h0;
    const outputs: Tensor[] = [];
    for (let t = 0; t < L; t++) {
      const at = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, t, t + 1), [B, ...x.shape.slice(2)]);
      const [out, next] = ssdStep(
        { ...shared, x: at(inputs.x), dt: at(inputs.dt), B: at(inputs.B), C: at(inputs.C), z: at(inputs.z), h },
        options,
      );
      outputs.push(out);
      h = next;
    }
    await expectClose(stack(outputs, 1), y);
    await expectClose(h, hT);
  });

  test("limits hold the step size, and no limits leave it", async () => {
    const one = (dt: number, dtLimit?: readonly [number, number]): Promise<number[]> =>
      values(
        ssd(
          {
            x: tensor([1], [1, 1, 1, 1]),
            dt: tensor([dt], [1, 1, 1]),
            A: tensor([0]),
            B: tensor([1], [1, 1, 1, 1]),
            C: tensor([1], [1, 1, 1, 1]),
          },
          dtLimit && { dtLimit },
        ).y,
      );
    expect(await one(-3)).toEqual([-3]);
    expect(await one(-3, [0.5, 2])).toEqual([0.5]);
    expect(await one(3, [0.5, 2])).toEqual([2]);
    expect(await one(3, [0.5, Infinity])).toEqual([3]);
    expect(await one(-3, [-Infinity, 2])).toEqual([-3]);
  });

  test("a sequence begins where the number of the sequence changes", async () => {
    const segments = tensor(
      [
        [0, 0, 1, 1, 5],
        [3, 4, 4, 4, 3],
      ],
      undefined,
      "i32",
    );
    expect(await values(resetsOfSegments(segments))).toEqual([0, 0, 1, 0, 1, 0, 1, 0, 0, 1]);
  });

  test("steps of another shape are refused", () => {
    expect(() => ssd({ ...inputs, dt: normal(key(1), [B, L, P]) })).toThrow("expected x [B L H P] and dt [B L H]");
    expect(() => ssdStep({ ...shared, h: h0 })).toThrow("expected x [B H P] and dt [B H]");
  });
});

describe("masks and states", () => {
  test("segsum has sums of segments, and decayMask their exponentials, on a device too", async () => {
    const x = tensor([-1, -2, -4]);
    const expected = [0, -Infinity, -Infinity, -2, 0, -Infinity, -6, -4, 0];
    expect(await values(segsum(x))).toEqual(expected);
    const device = cpu();
    const [sums, mask] = [segsum(tensor([-1, -2, -4])), decayMask(tensor([-1, -2, -4]))];
    await realize([sums, mask], { device });
    expect([...(await sums.data())]).toEqual(expected);
    const found = [...(await mask.data())];
    expected.forEach((value, k) => expect(found[k]).toBeCloseTo(Math.exp(value), 6));
    await device.close();
  });

  test("a small segment behind a large one is exact", async () => {
    const device = cpu();
    const mask = decayMask(tensor([-1, -5000, -0.001]));
    await realize(mask, { device });
    expect((await mask.data())[7]).toBeCloseTo(Math.exp(-0.001), 7);
    await device.close();
  });

  test("states passed between pieces are the states inside the whole", async () => {
    const k = normal(key(1), [B, 6, H, N]);
    const v = normal(key(2), [B, 6, H, P]);
    const logDecay = mul(-1, softplus(normal(key(3), [B, 6, H])));
    const piece = (x: Tensor): Tensor => reshape(x, [B * 3, 2, ...x.shape.slice(2)]);
    const { hT: states } = structuredMaskedAttention({
      q: piece(k),
      k: piece(k),
      v: piece(v),
      logDecay: piece(logDecay),
    });
    const kept = exp(reshape(sliceAxis(cumsum(piece(logDecay), 1), 1, 1, 2), [B, 3, H, 1, 1]));
    const { before, hT } = passStates({ states: reshape(states, [B, 3, H, N, P]), kept, h0: inputs.h0 });
    for (const [c, length] of [0, 2, 4, 6].entries()) {
      const cut = (x: Tensor): Tensor => sliceAxis(x, 1, 0, length);
      const whole = structuredMaskedAttention({
        q: cut(k),
        k: cut(k),
        v: cut(v),
        logDecay: cut(logDecay),
        h0: inputs.h0,
      });
      await expectClose(c < 3 ? reshape(sliceAxis(before, 1, c, c + 1), [B, H, N, P]) : hT, whole.hT);
    }
    expect(passStates({ states: sliceAxis(before, 1, 0, 0), h0: inputs.h0 }).hT).toBe(inputs.h0);
  });
});
