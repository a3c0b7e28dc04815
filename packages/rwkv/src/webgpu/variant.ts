/** WKV on the WebGPU device. */
import type { GpuVariant, KernelCase } from "@seqmix/tensor";
import type { GpuLimits, GpuProgram } from "@seqmix/tensor/wgsl";
import { backwardProgram } from "./backward.js";
import { forwardProgram } from "./forward.js";
import type { Numbered } from "./walk.js";
import { cut, type WkvForm } from "./walk.js";

type Case = KernelCase<undefined>;

/** Buffers that the gradient's last pass binds. */
const BUFFERS = 12;

function formOf({ dims, present }: Case): WkvForm {
  const { B, L, C } = dims as { readonly B: number; readonly L: number; readonly C: number };
  return { B, L, C, ...cut(B, L, C), carried: present.has("aa0"), resets: present.has("resets") };
}

const numbered =
  (names: readonly string[]): Numbered =>
  (name) =>
    names.indexOf(name);

function forward(kase: Case): GpuProgram {
  return forwardProgram(formOf(kase), numbered([...kase.present, "y", "aaT", "bbT", "ppT", "logSum", "states"]));
}

function backward(kase: Case): GpuProgram {
  const gradients = [...kase.present].filter((name) => name !== "resets").map((name) => `d${name}`);
  return backwardProgram(
    formOf(kase),
    numbered([...kase.present, "y", "logSum", "dy", ...gradients, "states", "parts"]),
  );
}

function supports({ dims, cotangents, present }: Case, limits: GpuLimits): true | string {
  const { B = 0, L = 0, C = 0 } = dims;
  if (B * L * C === 0) return "expected elements, got none";
  const bytes = 4 * B * L * C;
  if (bytes > limits.bytes) return `expected tensors of at most ${limits.bytes} bytes, got ${bytes}`;
  if (limits.buffers < BUFFERS) return `expected ${BUFFERS} buffers a kernel, got ${limits.buffers}`;
  if (["aa0", "bb0", "pp0"].some((name) => present.has(name) !== present.has("aa0")))
    return "expected the whole state or none of it";
  const others = [...cotangents].filter((name) => name !== "y");
  return others.length === 0 ? true : `expected a cotangent of y alone, got one of ${others.join(" and ")}`;
}

/** A thread walks through a segment of a channel. */
export const wkvOnGpu: GpuVariant<undefined> = {
  device: "webgpu",
  name: "walks through segments",
  needs: `${BUFFERS} buffers a kernel`,
  supports,
  forward,
  backward,
};
