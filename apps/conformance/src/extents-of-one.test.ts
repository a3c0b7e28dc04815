// Every mixer with every extent that may be one: a batch of one sequence of one element of one channel.
import { mixers } from "@seqmix/catalog";
import { configure, type AnyMixer, type MixerConfig, type MixerSettings } from "@seqmix/mixer";
import { cpu } from "@seqmix/tensor";
import { checkMixer } from "@seqmix/testing";
import { webgpu } from "@seqmix/webgpu";
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { afterAll, expect, test } from "vitest";

/** The software adapter compiles for seconds: it is asked for by name. */
const onWebgpu = process.env["SEQMIX_DEVICE"] === "webgpu";
if (onWebgpu) useSoftwareAdapter();
const device = onWebgpu ? await webgpu() : cpu({ threads: 1 });
afterAll(() => device.close());

/** Of a mixer with several samples the first, unless all are asked for. */
const samplesOf = ({ samples = {} }: AnyMixer): [string, object][] =>
  Object.entries(samples).slice(0, process.env["SEQMIX_SAMPLES"] === "all" ? undefined : 1);

/** Where one is too few: pairs of channels that turn, conjugate pairs of modes. */
const pairs: Readonly<Record<string, MixerSettings>> = {
  s5: { dState: 2 },
  h3: { dState: 2 },
  gla: { expandK: 1 },
  attention: { headDim: 2 },
  transformer: { headDim: 2 },
  retnet: { dModel: 2 },
};

function allOnes(mixer: AnyMixer, settings: object): MixerConfig {
  const ranges = (mixer.ranges ?? {}) as Readonly<Record<string, readonly [number, number]>>;
  const config = { ...mixer.config, ...settings } as unknown as MixerSettings;
  const ones = Object.entries(config).map(([name, value]) => [
    name,
    typeof value === "number" && Number.isInteger(value) && value > 1 ? Math.max(1, ranges[name]?.[0] ?? 1) : value,
  ]);
  return configure(mixer, { ...Object.fromEntries(ones), ...pairs[mixer.id] });
}

test.each(
  mixers.flatMap((mixer) => samplesOf(mixer).map(([name, settings]) => [mixer.id, name, mixer, settings] as const)),
)(
  "%s, %s",
  async (_, __, mixer, settings) => {
    // One key has all the weight whatever the query: gradients are differences of equal numbers.
    const options = { batch: 1, length: 1, cancelling: 1e-6 };
    const report = await checkMixer(mixer, allOnes(mixer, settings), device, options);
    expect(report.laws).toContain("gradients are finite differences");
  },
  120_000,
);
