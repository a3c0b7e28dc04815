import { makePlan, scanPasses, whenLoaded, type Plan } from "@seqmix/tensor/backend";
import {
  add,
  explain,
  grad,
  key,
  leavesOf,
  mul,
  normal,
  reference,
  sum,
  tensor,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { expect, test } from "vitest";
import { selectiveScan } from "./index.js";

/** The plan of a device that fuses recurrences. */
async function planOf(tree: Tree): Promise<Plan> {
  let plan: Plan | undefined;
  const device = {
    ...reference(),
    name: "none",
    async explain({ roots, leaves }: Parameters<ReturnType<typeof reference>["explain"]>[0]): Promise<string> {
      plan = await whenLoaded(() =>
        makePlan(roots, leaves, {
          device: "none",
          fuse: true,
          maxBuffers: 16,
          scans: { passes: scanPasses, maxBuffers: 32, accepts: () => true },
        }),
      );
      return "";
    },
  };
  await explain(tree, { device });
  return plan!;
}

const [B, L, D, N, G] = [2, 6, 4, 3, 2];
const leaf = (...shape: number[]): Tensor =>
  tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.1), shape);
const complex = (...shape: number[]): { re: Tensor; im: Tensor } => ({ re: leaf(...shape), im: leaf(...shape) });
const inputs = (): { u: Tensor; delta: Tensor; D: Tensor; z: Tensor; deltaBias: Tensor } => ({
  u: leaf(B, L, D),
  delta: leaf(B, L, D),
  D: leaf(D),
  z: leaf(B, L, D),
  deltaBias: leaf(D),
});

const cases = {
  "one group": () => ({ ...inputs(), A: leaf(D, N), B: leaf(B, L, N), C: leaf(B, L, N), h0: leaf(B, D, N) }),
  "groups of channels": () => ({
    ...inputs(),
    A: leaf(D, N),
    B: leaf(B, L, G, N),
    C: leaf(B, L, G, N),
    h0: leaf(B, D, N),
  }),
  "constant maps": () => ({ ...inputs(), A: leaf(D, N), B: leaf(D, N), C: leaf(D, N) }),
  complex: () => ({ ...inputs(), A: complex(D, N), B: complex(D, N), C: complex(B, L, N), h0: complex(B, D, N) }),
};

const packed = (): Tensor => tensor(new Uint8Array(B * L).fill(1), [B, L]);

test.each(
  Object.entries(cases).flatMap(([name, make]) => [
    [name, make, undefined] as const,
    [`${name}, packed`, make, packed] as const,
  ]),
)("%s: no block of memory holds the states, forward or backward", async (_, make, resets) => {
  const scan = (given: Record<string, unknown>): Tensor[] =>
    leavesOf(selectiveScan({ ...given, resets: resets?.() } as never, { deltaSoftplus: true }) as unknown as Tree);
  const loss = (given: Record<string, unknown>): Tensor =>
    scan(given)
      .map((y, k) => sum(mul(normal(key(k), y.shape), mul(y, y))))
      .reduce((a, b) => add(a, b));
  const plan = await planOf([...scan(make()), ...leavesOf(grad(loss as never)(make() as never) as Tree)]);
  expect(Math.max(...plan.slots.map(({ size }) => size))).toBeLessThan(B * L * D * N);
  expect(plan.steps.filter(({ kind }) => kind === "native")).toEqual([]);
  expect(plan.steps.filter(({ kind }) => kind === "scan").length).toBe(3);
});
