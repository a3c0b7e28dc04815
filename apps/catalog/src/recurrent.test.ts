// Long sequences one element after another: one step that the device repeats. Outputs, states and gradients are those of all elements at once.
import { modesOf, runMixer, type Mode } from "@seqmix/mixer";
import {
  add,
  arange,
  cast,
  cpu,
  key,
  leavesOf,
  mul,
  normal,
  realize,
  reshape,
  sin,
  sliceAxis,
  sub,
  sum,
  tensor,
  valueAndGrad,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { expect, test } from "vitest";
import { mixers } from "./index.js";

const L = 33;
const first = (at: readonly number[]): Tensor =>
  tensor(
    Uint8Array.from({ length: 2 * L }, (_, k) => Number(at.includes(k % L))),
    [2, L],
  );
const weighted = (x: Tensor): Tensor => sum(mul(x, sin(reshape(cast(arange(x.size), "f32"), x.shape))));

const subjects = mixers.flatMap((mixer) => {
  const [name, sample] = Object.entries(mixer.samples ?? {})[0]!;
  const config = { ...mixer.config, ...sample };
  return mixer.state === "constant" && modesOf(mixer, config).includes("recurrent")
    ? [[`${mixer.id}, ${name}`, mixer, config] as const]
    : [];
});

test.each(subjects)("%s", { timeout: 120_000 }, async (_, mixer, config) => {
  const packed = typeof mixer.resets === "function" ? mixer.resets(config) : mixer.resets;
  const loss =
    (mode: Mode) =>
    ({ params, x }: { readonly params: Tree; readonly x: Tensor }): Tensor => {
      const [y, state] = runMixer(mixer, config, params, x, undefined, mode, packed ? first([0, 11, 30]) : undefined);
      return [y, ...leavesOf(state).filter(({ dtype }) => dtype === "f32")].map(weighted).reduce((a, b) => add(a, b));
    };
  const device = cpu();
  const given = await realize(
    { params: mixer.init(config, key(1)), x: normal(key(2), [2, L, config.dModel]) },
    { device },
  );
  const found: number[][] = [];
  for (const mode of ["parallel", "recurrent"] as const) {
    const leaves = leavesOf(valueAndGrad(loss(mode))(given) as readonly Tree[]).map((x) => mul(x, 1));
    await realize(leaves, { device });
    found.push((await Promise.all(leaves.map(async (x) => [...(await x.data())]))).flat());
  }
  const [together, folded] = found as [number[], number[]];
  const scale = Math.max(...together.map(Math.abs));
  together.forEach((value, k) => expect(Math.abs(folded[k]! - value) / scale, `number ${k}`).toBeLessThan(1e-3));
});

test("ten thousand elements of Mamba, one after another", async () => {
  const mamba = mixers.find(({ id }) => id === "mamba")!;
  const config = { ...mamba.config, dModel: 4, dState: 2, expand: 1 };
  const device = cpu();
  const params = await realize(mamba.init(config, key(1)), { device });
  const x = await realize(normal(key(2), [1, 10_000, 4]), { device });
  const [y] = runMixer(mamba, config, params, x, undefined, "recurrent");
  const [expected] = runMixer(mamba, config, params, x);
  const off = sub(y, expected);
  const worst = Math.max(...(await (await realize(off, { device })).data()).map(Math.abs));
  expect(worst).toBeLessThan(1e-4);
  expect((await sliceAxis(y, 1, 9_999, 10_000).data()).every((value) => value !== 0)).toBe(true);
});
