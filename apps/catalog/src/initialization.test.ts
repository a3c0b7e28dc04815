// What a mixer names as maps into the residual stream begins smaller the deeper its model is, and nothing else does.
import { expect, test } from "vitest";
import { branchesOf, configure, initLanguageModel, type AnyMixer, type LanguageModelConfig } from "@seqmix/mixer";
import { cpu, key, namedLeaves, realize, type Tree } from "@seqmix/tensor";
import { mixers } from "./index.js";

/** Those of the authors' code that are divided by the square root of the branches, with a path in the layer for each map. */
const published: Readonly<Record<string, readonly string[]>> = {
  mamba: ["out_proj.weight"],
  mamba2: ["out_proj.weight"],
  gla: ["o_proj.weight"],
  hyena: ["out_proj.weight"],
  hawk: ["linear_out.weight"],
  attention: ["out_proj.weight"],
  transformer: ["attn.out_proj.weight", "mlp.down_proj.weight"],
};

const device = cpu();
const layerOf = async (model: LanguageModelConfig): Promise<Record<string, readonly number[]>> => {
  const params = await realize(initLanguageModel(model, key(5)), { device });
  const leaves = Object.entries(namedLeaves(params.layers[1] as Tree));
  return Object.fromEntries(await Promise.all(leaves.map(async ([path, x]) => [path, [...(await x.data())]] as const)));
};
const smallest = (mixer: AnyMixer): LanguageModelConfig => {
  const sample = Object.values(mixer.samples!)[0]!;
  return { mixer, mixerConfig: sample, dModel: configure(mixer, sample).dModel, nLayers: 2, vocabSize: 3 };
};

test.each(mixers.map((mixer) => [mixer.id, mixer] as const))("%s", async (id, mixer) => {
  // RWKV-4's other parameters depend on the depth by themselves, and its maps into the stream begin as 0
  if (id === "rwkv4") return expect(branchesOf(mixer)).toBe(2);
  const model = smallest(mixer);
  const [two, eight] = await Promise.all([layerOf(model), layerOf({ ...model, nLayers: 8 })]);
  const changed = Object.keys(two).filter((path) => two[path]!.some((value, i) => value !== eight[path]![i]));
  const named = Object.keys(two).filter((path) => mixer.residualMaps?.test(path.replace("mixer.", "")));
  if (mixer.residualMaps) expect(named).not.toEqual([]);
  // Hawk's init does it itself, by a rule of its own
  if (mixer.residualMaps || !published[id]) expect(changed).toEqual(named);
  if (published[id]) expect(changed).toEqual(published[id].map((path) => `mixer.${path}`));
  for (const path of changed)
    for (const [i, value] of two[path]!.entries()) expect(eight[path]![i]! * 2).toBeCloseTo(value, 6);
});

test("feed-forward blocks count as branches, and begin smaller where the mixer does", async () => {
  const mamba = mixers.find(({ id }) => id === "mamba")!;
  const model = { ...smallest(mamba), feedForward: { kind: "mlp", dHidden: 5 } } as const;
  const [one, four] = await Promise.all([layerOf({ ...model, feedForward: undefined! }), layerOf({ ...model })]);
  const out = "mixer.out_proj.weight";
  for (const [i, value] of one[out]!.entries()) expect(four[out]![i]! * Math.SQRT2).toBeCloseTo(value, 6);
  const alone = await layerOf({ ...model, mixer: mixers.find(({ id }) => id === "gru")!, mixerConfig: {} });
  for (const [i, value] of alone["mlp.fc2.weight"]!.entries())
    expect(four["mlp.fc2.weight"]![i]! * 2).toBeCloseTo(value, 6);
});
