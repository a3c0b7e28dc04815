/** One position of the Mamba block on the WebGPU device: four passes, each as many kernels' work as it can finish itself. */
import type { GpuVariant, KernelCase } from "@seqmix/tensor";
import { bytesOf, MOST_ROWS, rowProgram, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { inputPass, outputPass, productsOf, scanPass, selectionPass, type StepForm } from "./step-passes.js";

type Case = KernelCase<undefined>;

function formOf({ dims, halves }: Case, { storesHalf = false, workgroupBytes }: GpuLimits): StepForm {
  const { B, D, E, N, R, W } = dims as Readonly<Record<"B" | "D" | "E" | "N" | "R" | "W", number>>;
  return { B, D, E, N, R, W, workgroupBytes, half: (name) => storesHalf && halves.has(name) };
}

function supports(kase: Case, limits: GpuLimits): true | string {
  const { B = 0, D = 0, E = 0, F = 0, N = 0, P = 0, R = 0, W = 0, V = 0 } = kase.dims;
  if (F !== 2 * E || P !== R + 2 * N || V !== W - 1) return "expected axes F = 2E, P = R + 2N and V = W - 1";
  if (B < 1 || B > MOST_ROWS) return `expected 1 to ${MOST_ROWS} sequences, got ${B}`;
  if (D < 1 || [D, E, N, R].some((extent) => extent % 4 !== 0)) return "expected D, E, N and R to be multiples of 4";
  if (N < 4 || 256 % N !== 0) return `expected a state of 4, 8 and so on to 256 entries a channel, got ${N}`;
  const largest = 4 * Math.max(F * D, B * E * N);
  if (largest > limits.bytes) return `expected tensors of at most ${limits.bytes} bytes, got ${largest}`;
  const products = Object.values(productsOf(formOf(kase, limits)));
  return products.every((each) => rowProgram(each, limits.workgroupBytes)) ? true : "expected more workgroup memory";
}

function forward(kase: Case, limits: GpuLimits): GpuProgram {
  const form = formOf(kase, limits);
  const { B, E, N, R } = form;
  const names = [...kase.present, "y", "nextWindow", "nextState", "both", "selected"];
  const number = (name: string): number => names.indexOf(name);
  return {
    name: `four passes of ${B} row${B === 1 ? "" : "s"}`,
    passes: [inputPass, selectionPass, scanPass, outputPass].map((pass) => pass(form, number)),
    scratch: [bytesOf(2 * B * E), bytesOf(B * (R + 2 * N))],
  };
}

/** The products read their weights once, or once for each few rows; the convolution and the scan are what they end with. */
export const mambaStepOnGpu: GpuVariant<undefined> = {
  device: "webgpu",
  name: "four passes",
  supports,
  forward,
};
