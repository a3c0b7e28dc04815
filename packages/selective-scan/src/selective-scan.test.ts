import type { Complex } from "@seqmix/scan";
import {
  add,
  broadcastTo,
  concat,
  cpu,
  expandDims,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  reshape,
  sliceAxis,
  sum,
  tensor,
  uniform,
  zeros,
  ShapeError,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { selectiveScan, selectiveScanStep } from "./index.js";

const oracle = reference();
const values = async (x: Tensor, device = oracle): Promise<number[]> => {
  await realize(x, { device });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits = 9): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};
const at = (x: Tensor, axis: number, index: number): Tensor =>
  reshape(
    sliceAxis(x, axis, index, index + 1),
    x.shape.filter((_, k) => k !== axis),
  );

function draw(
  L: number,
  [B, D, N] = [2, 4, 3],
): Record<"u" | "delta" | "A" | "B" | "C" | "D" | "z" | "deltaBias" | "h0", Tensor> {
  return {
    u: normal(key(1), [B!, L, D!]),
    delta: uniform(key(2), [B!, L, D!], -2, 1),
    A: uniform(key(3), [D!, N!], -3, -0.2),
    B: normal(key(4), [B!, L, N!]),
    C: normal(key(5), [B!, L, N!]),
    D: normal(key(6), [D!]),
    z: normal(key(7), [B!, L, D!]),
    deltaBias: uniform(key(8), [D!], -0.5, 0.5),
    h0: normal(key(9), [B!, D!, N!]),
  };
}

describe("selectiveScan", () => {
  test.each([1, 2, 17, 65])("is the recurrence of the paper, length %i", async (L) => {
    const x = draw(L);
    const { y, hT } = selectiveScan(x, { deltaSoftplus: true });
    const v = Object.fromEntries(
      await Promise.all(Object.entries(x).map(async ([name, t]) => [name, await values(t)] as const)),
    ) as Record<keyof typeof x, number[]>;
    const expected: number[] = [];
    const state = [...v.h0];
    for (let b = 0; b < 2; b++)
      for (let t = 0; t < L; t++)
        for (let d = 0; d < 4; d++) {
          const row = (b * L + t) * 4 + d;
          const delta = Math.log1p(Math.exp(v.delta[row]! + v.deltaBias[d]!));
          let out = v.D[d]! * v.u[row]!;
          for (let n = 0; n < 3; n++) {
            const s = (b * 4 + d) * 3 + n;
            state[s] = Math.exp(delta * v.A[d * 3 + n]!) * state[s]! + delta * v.B[(b * L + t) * 3 + n]! * v.u[row]!;
            out += v.C[(b * L + t) * 3 + n]! * state[s]!;
          }
          const z = v.z[row]!;
          expected[row] = (out * z) / (1 + Math.exp(-z));
        }
    close(await values(y), expected);
    close(await values(hT), state);
  });

  test("single steps fold into it, in values and gradients", async () => {
    const x = draw(5);
    const weight = normal(key(20), [2, 5, 4]);
    const whole = (p: typeof x): Tensor => sum(mul(weight, selectiveScan(p, { deltaSoftplus: true }).y));
    const folded = (p: typeof x): Tensor => {
      let h = p.h0;
      let total: Tensor | undefined;
      for (let t = 0; t < 5; t++) {
        const out = selectiveScanStep(
          {
            u: at(p.u, 1, t),
            delta: at(p.delta, 1, t),
            A: p.A,
            B: at(p.B, 1, t),
            C: at(p.C, 1, t),
            D: p.D,
            z: at(p.z, 1, t),
            deltaBias: p.deltaBias,
            h,
          },
          { deltaSoftplus: true },
        );
        const term = sum(mul(at(weight, 1, t), out.y));
        h = out.h;
        total = total ? add(total, term) : term;
      }
      return total!;
    };
    close(await values(folded(x)), await values(whole(x)));
    const [a, b] = [grad(whole)(x), grad(folded)(x)];
    for (const name of Object.keys(x) as (keyof typeof x)[]) close(await values(b[name]), await values(a[name]));
  });

  test("a split anywhere gives the whole", async () => {
    const x = draw(9);
    const whole = selectiveScan(x);
    const part = (start: number, end: number, h0: Tensor): ReturnType<typeof selectiveScan<Tensor>> => {
      const cut = (t: Tensor): Tensor => sliceAxis(t, 1, start, end);
      return selectiveScan({ ...x, u: cut(x.u), delta: cut(x.delta), B: cut(x.B), C: cut(x.C), z: cut(x.z), h0 });
    };
    const first = part(0, 4, x.h0);
    const second = part(4, 9, first.hT);
    close(await values(second.y), await values(sliceAxis(whole.y, 1, 4, 9)));
    close(await values(second.hT), await values(whole.hT));
    close(await values(part(3, 3, x.h0).hT), await values(x.h0));
  });

  test.each([
    ["maps for each position", {}],
    ["constant maps", { B: normal(key(40), [4, 3]), C: normal(key(41), [4, 3]) }],
    ["groups", { B: normal(key(42), [2, 9, 2, 3]), C: normal(key(43), [2, 9, 2, 3]) }],
  ] as [string, { B?: Tensor; C?: Tensor }][])(
    "sequences packed into one are each alone, in values, states and gradients: %s",
    async (_, maps) => {
      const x = { ...draw(9), ...maps };
      const resets = tensor(Int32Array.of(0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0), [2, 9]);
      const part = (
        given: typeof x,
        start: number,
        end: number,
        h0?: Tensor,
      ): ReturnType<typeof selectiveScan<Tensor>> => {
        const cut = (t: Tensor): Tensor => (t.shape[1] === 9 ? sliceAxis(t, 1, start, end) : t);
        const inputs = Object.fromEntries(Object.entries(given).map(([name, t]) => [name, cut(t)])) as typeof x;
        return selectiveScan({ ...inputs, h0 }, { deltaSoftplus: true });
      };
      const alone = (given: typeof x): { y: Tensor; hT: Tensor } => {
        const [first, second, third] = [part(given, 0, 4, given.h0), part(given, 4, 5), part(given, 5, 9)];
        return { y: concat([first.y, second.y, third.y], 1), hT: third.hT };
      };
      const packed = (given: typeof x): { y: Tensor; hT: Tensor } =>
        selectiveScan({ ...given, resets }, { deltaSoftplus: true });
      const loss = (run: typeof alone) => (given: typeof x) => {
        const { y, hT } = run(given);
        return add(sum(mul(normal(key(44), y.shape), y)), sum(mul(normal(key(45), hT.shape), hT)));
      };
      close(await values(packed(x).y), await values(alone(x).y));
      close(await values(packed(x).hT), await values(alone(x).hT));
      const [got, expected] = [grad(loss(packed))(x), grad(loss(alone))(x)];
      for (const name of Object.keys(x) as (keyof typeof x)[])
        close(await values(got[name]), await values(expected[name]));
    },
  );

  test("a packed complex scan forgets, too", async () => {
    const { z: _, ...x } = draw(5);
    const complex = (re: Tensor, seed: number): Complex => ({ re, im: normal(key(seed), re.shape) });
    const [A, B, C, h0] = [complex(x.A, 31), complex(x.B, 32), complex(x.C, 33), complex(x.h0, 34)];
    const cut = (t: Tensor): Tensor => sliceAxis(t, 1, 3, 5);
    const both = (c: Complex): Complex => ({ re: cut(c.re), im: cut(c.im) });
    const resets = tensor(Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0, 1, 0), [2, 5]);
    const all = selectiveScan<Complex>({ ...x, A, B, C, h0, resets });
    const last = selectiveScan<Complex>({
      ...x,
      u: cut(x.u),
      delta: cut(x.delta),
      A,
      B: both(B),
      C: both(C),
      h0: undefined,
    });
    close(await values(cut(all.y)), await values(last.y));
    close(await values(all.hT.im), await values(last.hT.im));
  });

  test("resets that are no flags are refused", () => {
    const x = draw(3);
    expect(() => selectiveScan({ ...x, resets: zeros([2, 3]) })).toThrow("expected bool or i32 resets [B L], got f32");
    expect(() => selectiveScan({ ...x, resets: zeros([2, 4], "i32") })).toThrow("of shape [2,3], got shape [2,4]");
  });

  test("constant maps and groups are maps repeated", async () => {
    const x = draw(6);
    const constant = normal(key(10), [4, 3]);
    const grouped = normal(key(11), [2, 6, 2, 3]);
    const repeated = reshape(broadcastTo(expandDims(grouped, 3), [2, 6, 2, 2, 3]), [2, 6, 4, 3]);
    const got = selectiveScan({ ...x, B: constant, C: grouped });
    const expected = selectiveScan({ ...x, B: broadcastTo(constant, [2, 6, 4, 3]), C: repeated });
    close(await values(got.y), await values(expected.y));
    const one = selectiveScan({ ...x, B: expandDims(x.B, 2), C: expandDims(x.C, 2) });
    close(await values(one.y), await values(selectiveScan(x).y));
    expect(() => selectiveScan({ ...x, B: normal(key(1), [2, 6, 3, 3]) })).toThrow("3 groups for D = 4");
  });

  test("a complex scan without imaginary parts is twice the real one; its state is the same", async () => {
    const { D: _, z: __, ...x } = draw(7);
    const complex = (re: Tensor): Complex => ({ re, im: mul(re, 0) });
    const got = selectiveScan<Complex>({ ...x, A: complex(x.A), B: complex(x.B), C: complex(x.C), h0: complex(x.h0) });
    const real = selectiveScan(x);
    close(await values(got.y), await values(mul(2, real.y)));
    close(await values(got.hT.re), await values(real.hT));
  });

  test("complex steps fold into the complex scan", async () => {
    const { z: _, ...x } = draw(4);
    const complex = (re: Tensor, seed: number): Complex => ({ re, im: normal(key(seed), re.shape) });
    const [A, B, C, h0] = [complex(x.A, 31), complex(x.B, 32), complex(x.C, 33), complex(x.h0, 34)];
    const whole = selectiveScan<Complex>({ ...x, A, B, C, h0 });
    let h = h0;
    for (let t = 0; t < 4; t++) {
      const part = (z: Complex): Complex => ({ re: at(z.re, 1, t), im: at(z.im, 1, t) });
      const out = selectiveScanStep<Complex>({
        u: at(x.u, 1, t),
        delta: at(x.delta, 1, t),
        A,
        B: part(B),
        C: part(C),
        D: x.D,
        deltaBias: x.deltaBias,
        h,
      });
      close(await values(out.y), await values(at(whole.y, 1, t)));
      h = out.h;
    }
    close(await values(h.im), await values(whole.hT.im));
  });

  test("the default device agrees", async () => {
    const on = async (device: ReturnType<typeof cpu>): Promise<number[]> =>
      values(selectiveScan(draw(40), { deltaSoftplus: true }).y, device);
    close(await on(cpu()), await on(oracle), 3);
  });

  test("an axis that differs is named", () => {
    const x = draw(3);
    expect(() => selectiveScan({ ...x, A: zeros([5, 3]) })).toThrow(
      "selectiveScan: axis D is 4 in delta [B L D] but 5 in A [D N]",
    );
    expect(() => selectiveScan({ ...x, u: zeros([2, 3]) })).toThrow(ShapeError);
  });
});
