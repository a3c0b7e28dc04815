/** What {@link webgpu} can be asked for, checked: a misspelt name or an impossible value would otherwise be ignored. */
import { assertNumber, assertOneOf, assertSettings } from "@seqmix/tensor";
import type { DeviceLimits, WebGpuOptions } from "./contract.js";

const FLAGS = ["halfPrecision", "exactTimestamps", "explainCode", "poison"] as const;
const LIMITS: readonly (keyof DeviceLimits)[] = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "memory",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
];

/** @throws TypeError for an option that does not exist; RangeError for a value that it cannot have. */
export function assertOptions(options: WebGpuOptions): void {
  assertSettings("webgpu", options, ["powerPreference", "dawn", "products", "limits", ...FLAGS]);
  const { powerPreference, dawn = [], products, limits = {} } = options;
  assertOneOf("webgpu", "powerPreference", powerPreference ?? "low-power", ["low-power", "high-performance"]);
  assertOneOf("webgpu", "products", products ?? "f32", ["f32", "tf32"]);
  for (const flag of FLAGS) assertOneOf("webgpu", flag, options[flag] ?? false, [true, false]);
  if (!Array.isArray(dawn) || !dawn.every((each) => typeof each === "string"))
    throw new TypeError(`webgpu: expected a list of texts dawn, got ${String(dawn)}; write ["name=value"]`);
  assertSettings("webgpu, limits", limits, LIMITS);
  for (const name of LIMITS)
    if (limits[name] !== undefined && limits[name] !== Infinity)
      assertNumber("webgpu", `limits.${name}`, limits[name], { from: 1, whole: true });
}
