/** Every op, kernel record and mixer as one list of checks, for any device in Node or in a page. */
import { kernels, mixers } from "@seqmix/catalog";
import { opTable, type Device } from "@seqmix/tensor";
import { checkKernel, checkMixer, checkOp } from "@seqmix/testing";

/** One check of the suite. */
export interface Check {
  /** Its suite. */
  readonly kind: "op" | "kernel" | "mixer";
  /** Its name, with the setting where there are several. */
  readonly name: string;
  /** Whether it is the first one of its record or mixer; further ones are other settings. */
  readonly first: boolean;
  /** @returns What was compared, in words. @throws LawError if a law does not hold. */
  run(device: Device): Promise<string>;
}

// Each length is a program of its own to compile, several for the gradients: the ends, and both sides of a workgroup's 64.
const lengths = [1, 65];
const tolerance = { lengths, relative: 2e-5, gradientRelative: 1e-4 };

const kernelChecks = kernels.map((kernel): Check => ({
  kind: "kernel",
  first: true,
  name: kernel.record.name,
  run: async (device) => `${(await checkKernel(kernel, device, tolerance)).cases} cases`,
}));

const mixerChecks = mixers.flatMap((mixer) =>
  Object.entries(mixer.samples ?? {}).map(([sample, settings], k): Check => ({
    kind: "mixer",
    first: k === 0,
    name: `${mixer.id}, ${sample}`,
    run: async (device) => {
      const config = { ...mixer.config, ...settings };
      return `${(await checkMixer(mixer, config, device, { length: 7 })).laws.length} laws`;
    },
  })),
);

const opChecks = opTable.map((op): Check => ({
  kind: "op",
  first: true,
  name: op.name,
  run: async (device) => `${(await checkOp(op, device)).comparisons} comparisons`,
}));

/** All checks, the quick ones first. */
export const checks: readonly Check[] = [...opChecks, ...kernelChecks, ...mixerChecks];

/** Mixers that a page runs: its programs are those that Node runs on the same devices, where all are proven. */
const inPages = ["mamba", "s4d", "s5", "attention"];

/** The checks of a page. */
export const pageChecks = checks.filter(
  ({ kind, name, first }) => kind !== "mixer" || (first && inPages.some((id) => name.startsWith(`${id},`))),
);
