import {
  add,
  concat,
  grad,
  key,
  mul,
  normal,
  realize,
  reference,
  sliceAxis,
  square,
  sub,
  sum,
  tensor,
  leavesOf,
  type Complex,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { identityMatrix } from "@seqmix/discretize";
import { describe, expect, test } from "vitest";
import {
  companionSystem,
  convolve,
  denseSystem,
  diagonalSystem,
  dplrSystem,
  recur,
  type DenseLti,
  type DiagonalSystem,
  type DplrLti,
  type LtiSystem,
} from "./index.js";

const oracle = reference();
const values = async (x: Tensor, device = oracle): Promise<number[]> => {
  await realize(x, { device });
  return [...(await x.data())];
};
const close = (actual: readonly number[], expected: readonly number[], digits = 9): void => {
  expect(actual.length).toBe(expected.length);
  actual.forEach((value, k) => expect(value).toBeCloseTo(expected[k]!, digits));
};
const complexNormal = (seed: number, shape: readonly number[]): Complex => ({
  re: normal(key(seed), shape),
  im: normal(key(seed + 1), shape),
});

const diagonal = (H = 2, N = 3, M = 2): DiagonalSystem => ({
  dt: tensor([[0.1], [0.3]]),
  A: { re: mul(-0.5, square(normal(key(1), [H, N]))), im: mul(3, normal(key(2), [H, N])) },
  B: complexNormal(3, [H, N]),
  C: complexNormal(5, [M, H, N]),
});
const companion = (N = 4, M = 2) => ({
  a: mul(0.3, normal(key(1), [2, N])),
  b: normal(key(2), [2, N]),
  c: normal(key(3), [M, 2, N]),
});

const dense = (N = 3, M = 2): DenseLti => ({
  dt: tensor([0.1, 0.3]),
  A: sub(mul(0.5, normal(key(1), [2, N, N])), identityMatrix(N)),
  B: normal(key(2), [2, N]),
  C: normal(key(3), [M, 2, N]),
});
const dplr = (R: number, M = 2): DplrLti => ({ ...diagonal(2, 3, M), P: complexNormal(7, [R, 2, 3]) });

const systems: Record<string, () => LtiSystem<Tree>> = {
  "diagonal, zoh": () => diagonalSystem(diagonal()) as unknown as LtiSystem<Tree>,
  "diagonal, bilinear": () => diagonalSystem(diagonal(), { rule: "bilinear" }) as unknown as LtiSystem<Tree>,
  "diagonal, dirac, no pairs": () =>
    diagonalSystem(diagonal(), { rule: "dirac", conjugatePairs: false }) as unknown as LtiSystem<Tree>,
  companion: () => companionSystem(companion()) as unknown as LtiSystem<Tree>,
  "dense, bilinear": () => denseSystem(dense()) as unknown as LtiSystem<Tree>,
  "dense, zoh": () => denseSystem(dense(), { rule: "zoh" }) as unknown as LtiSystem<Tree>,
  "diagonal plus low rank": () => dplrSystem(dplr(1)) as unknown as LtiSystem<Tree>,
  "diagonal plus low rank, rank 3": () => dplrSystem(dplr(3)) as unknown as LtiSystem<Tree>,
  "diagonal plus low rank, zoh": () => dplrSystem(dplr(1), { rule: "zoh" }) as unknown as LtiSystem<Tree>,
  shift: () => companionSystem({ ...companion(), a: undefined }) as unknown as LtiSystem<Tree>,
};

describe.each(Object.keys(systems))("%s", (name) => {
  const make = systems[name]!;

  // Shorter and longer than the state, a power of 2, and no square.
  test.each([1, 2, 8, 13])("convolution = recurrence, from a state and to a state, length %i", async (L) => {
    const system = make();
    const u = normal(key(10), [2, 2, L]);
    const { hT: h0 } = recur(system, normal(key(11), [2, 2, 3]));
    for (const start of [undefined, h0]) {
      const [whole, steps] = [convolve(system, u, start), recur(system, u, start)];
      close(await values(whole.y), await values(steps.y));
      const [got, expected] = [leavesOf(whole.hT), leavesOf(steps.hT)];
      for (const [k, part] of got.entries()) close(await values(part), await values(expected[k]!));
    }
  });

  test("a sequence goes from convolution to recurrence and back in the middle", async () => {
    const system = make();
    const u = normal(key(10), [1, 2, 14]);
    const first = convolve(system, sliceAxis(u, 2, 0, 6));
    const second = recur(system, sliceAxis(u, 2, 6, 9), first.hT);
    const third = convolve(system, sliceAxis(u, 2, 9, 14), second.hT);
    const whole = convolve(system, u);
    close(await values(concat([first.y, second.y, third.y], 3)), await values(whole.y));
    for (const [k, part] of leavesOf(third.hT).entries())
      close(await values(part), await values(leavesOf(whole.hT)[k]!));
  });

  test("gradients of both views are the same", async () => {
    const loss =
      (run: typeof convolve) =>
      (u: Tensor): Tensor => {
        const { y, hT } = run(make(), u);
        return leavesOf(hT).reduce((total, part) => add(total, sum(square(part))), sum(square(y)));
      };
    const u = normal(key(10), [1, 2, 7]);
    close(await values(grad(loss(convolve))(u)), await values(grad(loss(recur))(u)));
  });

  test("nothing in is nothing out, and the state stays", async () => {
    const system = make();
    const { hT: h0 } = recur(system, normal(key(11), [2, 2, 3]));
    const { y, hT } = convolve(system, normal(key(1), [2, 2, 0]), h0);
    expect(y.shape).toEqual([2, system.outputs, 2, 0]);
    expect(leavesOf(hT)).toEqual(leavesOf(h0));
  });
});
