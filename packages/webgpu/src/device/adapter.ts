/** Finding a GPU: the page's own WebGPU, or Dawn (npm `webgpu`) in Node. */
import { DeviceError } from "@seqmix/tensor";
import type { AdapterOptions } from "./contract.js";

/** The bits of GPUBufferUsage and GPUMapMode, which Node does not have as globals. */
export const USAGE = { mapRead: 1, copySource: 4, copyDestination: 8, uniform: 64, storage: 128 } as const;
export const MAP_READ = 1;

/** Limits asked for as far as the adapter has them; the defaults are much lower. */
const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;
const WANTED_FEATURES = ["timestamp-query", "subgroups", "shader-f16"] as const;

/** Subgroup matrices; asked for only with {@link AdapterOptions.halfPrecision}. */
export const MATRIX_FEATURE = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

const DAWN_SWITCHES = ["enable-dawn-features=disable_workgroup_init"];
const HALF_PRECISION = "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia";
const EXACT_TIMESTAMPS = "disable-dawn-features=timestamp_quantization";

/** Dawn's entry objects by their switches. Once one is garbage collected the process crashes: they are kept to its end. */
const instances = new Map<string, GPU>();
/** Entries that found no adapter, and would not look again. */
const fruitless: GPU[] = [];

async function entry(flags: readonly string[]): Promise<GPU> {
  if (typeof navigator === "object" && "gpu" in navigator && navigator.gpu) return navigator.gpu;
  if (typeof process !== "object" || !process.versions?.node)
    throw new DeviceError(
      "webgpu: expected navigator.gpu, but this page has none; use a browser with WebGPU over https or localhost, or the cpu() device",
    );
  const key = flags.join(" ");
  const known = instances.get(key);
  if (known) return known;
  const dawn = await loadDawn();
  const gpu = dawn.create([...flags]) as GPU;
  instances.set(key, gpu);
  return gpu;
}

/** Named by a variable and marked for bundlers: pages never load it, and need not have it. */
const DAWN = "webgpu";

async function loadDawn(): Promise<{ create(flags: string[]): unknown }> {
  try {
    return (await import(/* @vite-ignore */ /* webpackIgnore: true */ DAWN)) as { create(flags: string[]): unknown };
  } catch (cause) {
    const missing = (cause as { code?: string } | undefined)?.code === "ERR_MODULE_NOT_FOUND";
    throw new DeviceError(
      missing
        ? "webgpu: expected the npm package webgpu, the WebGPU of Node, but it is not installed; run npm install webgpu, or use the cpu() device"
        : `webgpu: expected the npm package webgpu to load on ${process.platform} ${process.arch}, but it did not (${String(cause)}); install it again or use the cpu() device`,
      { cause },
    );
  }
}

/** Whether the adapter is a program on the processor. */
export const isSoftware = ({ isFallbackAdapter, description, device, architecture }: GPUAdapterInfo): boolean =>
  isFallbackAdapter || /swiftshader|llvmpipe/i.test(`${description} ${device} ${architecture}`);

/** Switches with one list for each name: of several, Dawn follows the last alone. */
function joined(switches: readonly string[]): string[] {
  const lists = new Map<string, string[]>();
  for (const each of switches) {
    const [name, value] = each.split("=", 2) as [string, string?];
    lists.set(name, [...(lists.get(name) ?? []), ...(value?.split(",") ?? [])]);
  }
  return [...lists].map(([name, values]) => (values.length > 0 ? `${name}=${[...new Set(values)].join(",")}` : name));
}

/** A device, and what else is to be known of where it comes from. */
export interface Found {
  readonly gpu: GPUDevice;
  readonly adapter: GPUAdapter;
  readonly language: WGSLLanguageFeatures;
}

/** Limits of kernels that may be asked for below the adapter's; the others are kept by the device itself. */
const LOWERED = [
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
] as const;
type LowerLimits = Partial<Readonly<Record<(typeof LOWERED)[number], number>>>;

/** A new device with the highest limits its adapter has, or those in `lower`. @throws DeviceError if there is no adapter. */
export async function requestDevice(
  {
    powerPreference = "high-performance",
    dawn = DAWN_SWITCHES,
    exactTimestamps = false,
    halfPrecision = false,
  }: AdapterOptions,
  lower: LowerLimits = {},
): Promise<Found> {
  const switches = joined([
    ...dawn,
    ...(halfPrecision ? [HALF_PRECISION] : []),
    ...(exactTimestamps ? [EXACT_TIMESTAMPS] : []),
  ]);
  const api = await entry(switches);
  const adapter = await api.requestAdapter({ powerPreference });
  if (!adapter && instances.delete(switches.join(" "))) fruitless.push(api);
  if (!adapter)
    throw new DeviceError(
      "webgpu: expected a GPU adapter, got none; install a Vulkan, Metal or Direct3D 12 driver, or use the cpu() device",
    );
  const requiredLimits: Record<string, number> = {};
  for (const name of WANTED_LIMITS) requiredLimits[name] = adapter.limits[name];
  for (const name of LOWERED) requiredLimits[name] = Math.min(adapter.limits[name], lower[name] ?? Infinity);
  const requiredFeatures = [...WANTED_FEATURES, ...(halfPrecision ? [MATRIX_FEATURE] : [])].filter((name) =>
    adapter.features.has(name),
  );
  try {
    return {
      gpu: await adapter.requestDevice({ label: "seqmix", requiredFeatures, requiredLimits }),
      adapter,
      language: api.wgslLanguageFeatures,
    };
  } catch (cause) {
    throw new DeviceError(
      `webgpu: expected the adapter ${adapter.info.description} to give a device, but it did not (${String(cause)}); close other users of the GPU or use the cpu() device`,
      { cause },
    );
  }
}

/** What Dawn says of matrices that a subgroup multiplies. */
interface MatrixConfiguration {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Whether the device multiplies f16 matrices of 16 x 16 with sums in f32, by subgroups of 32 threads. */
export function hasMatrixUnits({ gpu: { features }, adapter: { info }, language }: Found): boolean {
  const {
    subgroupMatrixConfigs: configurations = [],
    subgroupMinSize,
    subgroupMaxSize,
  } = info as GPUAdapterInfo & { readonly subgroupMatrixConfigs?: readonly MatrixConfiguration[] };
  const fits = ({ componentType, resultComponentType, M, N, K }: MatrixConfiguration): boolean =>
    componentType === "f16" && resultComponentType === "f32" && M === 16 && N === 16 && K === 16;
  return (
    language.has("subgroup_id") &&
    features.has(MATRIX_FEATURE) &&
    features.has("shader-f16") &&
    features.has("subgroups") &&
    subgroupMinSize === 32 &&
    subgroupMaxSize === 32 &&
    configurations.some(fits)
  );
}
