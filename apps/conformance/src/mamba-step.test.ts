// One position of the Mamba block in four passes, against the same position composed of ops.
import { mixers } from "@seqmix/catalog";
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import {
  autocast,
  cast,
  compile,
  cpu,
  explain,
  foldIn,
  key,
  leavesOf,
  mapTree,
  normal,
  realize,
  reference,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { webgpu } from "@seqmix/webgpu";
import { afterAll, describe, expect, test } from "vitest";

useSoftwareAdapter();
const device = await webgpu({ poison: true });
const oracle = reference();
const processor = cpu();
afterAll(() => Promise.all([device, oracle, processor].map((each) => each.close())));

const mamba = mixers.find(({ id }) => id === "mamba")!;

/** Axes of no common size, and more columns than a workgroup has. */
const config = { ...mamba.config, dModel: 20, dState: 8, dtRank: 12, dConv: 3 };

const params = (): Tree => mamba.init(config, key(1));
const states = (batch: number): Tree =>
  mapTree((x) => normal(foldIn(key(2), x.shape.join()), x.shape), mamba.initState(config, batch));
const input = (batch: number): Tensor => normal(key(3), [batch, 20]);

type Step = (given: Tree, x: Tensor, state: Tree) => Tree;
const step: Step = (given, x, state) => mamba.step!(config, given, x, state) as Tree;
const stepOfHalves = autocast<[Tree, Tensor, Tree], Tree>((given, x, state) =>
  step(
    mapTree((w) => (w.dtype === "f16" ? cast(w, "f32") : w), given),
    x,
    state,
  ),
);
const inHalf = (given: Tree): Tree => mapTree((w) => (w.shape.length === 2 ? cast(w, "f16") : w), given);

const numbers = async (tree: Tree, where: Device): Promise<number[]> => {
  await realize(tree, { device: where });
  return (await Promise.all(leavesOf(tree).map((x) => x.data()))).flatMap((values) => [...values]);
};

/** The largest difference as a share of the largest number. */
async function errorOf(make: () => Tree): Promise<number> {
  const [found, expected] = [await numbers(make(), device), await numbers(make(), oracle)];
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return found.reduce((worst, value, k) => Math.max(worst, Math.abs(value - expected[k]!)), 0) / largest;
}

describe("a position of the Mamba block", () => {
  test.each([1, 3, 8])("of %i sequences runs in four passes, with the numbers of its ops", async (batch) => {
    const make = (): Tree => step(params(), input(batch), states(batch));
    const text = await explain(make(), { device });
    expect(text).toContain(`mambaStep (four passes): four passes of ${batch} row`);
    expect(await errorOf(make)).toBeLessThan(2e-6);
  });

  test("weights kept in f16 are read as they are", async () => {
    const given = await realize(inHalf(params()), { device });
    const text = await explain(stepOfHalves(given, input(5), states(5)), { device });
    expect(text.split("\n").filter((line) => line.includes("cast"))).toEqual([]);
    expect(await errorOf(() => stepOfHalves(inHalf(params()), input(5), states(5)))).toBeLessThan(2e-6);
  });

  test.each([
    ["more sequences than the passes are for", config, 9],
    ["a state that threads cannot share", { ...config, dState: 3 }, 2],
    ["biases of the projections", { ...config, bias: true }, 2],
    ["a constant step size", { ...config, selectiveDelta: false }, 2],
  ])("of %s is composed of ops", async (_, other, batch) => {
    const make = (): Tree =>
      mamba.step!(other, mamba.init(other, key(1)), input(batch), mamba.initState(other, batch)) as Tree;
    expect(await explain(make(), { device })).not.toContain("four passes of");
    expect(await errorOf(make)).toBeLessThan(1e-5);
  });

  test("compiled, it is the same as not, bit for bit", async () => {
    for (const where of [device, processor]) {
      const plain = await numbers(step(params(), input(3), states(3)), where);
      const compiled = compile(step, { device: where });
      const results = await compiled(params(), input(3), states(3));
      expect(await numbers(results, where)).toEqual(plain);
    }
  });
});
