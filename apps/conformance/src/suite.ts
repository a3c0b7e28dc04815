/** Every op, kernel record and mixer as one list of checks, for any device in Node or in a page. */
import { attention } from "@seqmix/attention";
import { fftConvKernel, fftCorrelationKernel } from "@seqmix/fft";
import { mamba } from "@seqmix/mamba";
import { s4d } from "@seqmix/s4";
import { selectiveScanKernel } from "@seqmix/selective-scan";
import { opTable, type Device } from "@seqmix/tensor";
import { checkKernel, checkMixer, checkOp } from "@seqmix/testing";

/** One check of the suite. */
export interface Check {
  /** Its suite. */
  readonly kind: "op" | "kernel" | "mixer";
  /** Its name, with the setting where there are several. */
  readonly name: string;
  /** @returns What was compared, in words. @throws LawError if a law does not hold. */
  run(device: Device): Promise<string>;
}

// Each length is a program of its own to compile, several for the gradients: the ends, and both sides of a workgroup's 64.
const lengths = [1, 65];
const tolerance = { lengths, relative: 2e-5, gradientRelative: 1e-4 };

const kernelCheck = (name: string, run: (device: Device) => ReturnType<typeof checkKernel>): Check => ({
  kind: "kernel",
  name,
  run: async (device) => `${(await run(device)).cases} cases`,
});

const mixerCheck = (name: string, run: (device: Device) => ReturnType<typeof checkMixer>): Check => ({
  kind: "mixer",
  name,
  run: async (device) => `${(await run(device)).laws.length} laws`,
});

const kernels: readonly Check[] = [
  kernelCheck("fftConv", (device) => checkKernel(fftConvKernel, device, tolerance)),
  kernelCheck("fftCorrelation", (device) => checkKernel(fftCorrelationKernel, device, tolerance)),
  kernelCheck("selectiveScan", (device) => checkKernel(selectiveScanKernel, device, tolerance)),
];

const range = { dtMin: 0.05, dtMax: 0.5 };
const mixers: readonly Check[] = [
  mixerCheck("attention", (device) =>
    checkMixer(attention, { ...attention.config, dModel: 4, nHeads: 2, bias: true, rotaryBase: 100 }, device, {
      length: 7,
    }),
  ),
  mixerCheck("s4d zoh", (device) =>
    checkMixer(s4d, { ...s4d.config, ...range, dModel: 2, dState: 4, disc: "zoh" }, device, { length: 7 }),
  ),
  mixerCheck("s4d bilinear", (device) =>
    checkMixer(s4d, { ...s4d.config, ...range, dModel: 2, dState: 4, disc: "bilinear" }, device, { length: 7 }),
  ),
  mixerCheck("mamba", (device) =>
    checkMixer(mamba, { ...mamba.config, ...range, dModel: 4, dState: 3, dtRank: 2 }, device, { length: 7 }),
  ),
];

const ops: readonly Check[] = opTable.map((op) => ({
  kind: "op",
  name: op.name,
  run: async (device) => `${(await checkOp(op, device)).comparisons} comparisons`,
}));

/** All checks, the quick ones first. */
export const checks: readonly Check[] = [...ops, ...kernels, ...mixers];
