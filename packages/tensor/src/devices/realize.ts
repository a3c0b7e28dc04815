/** Making values real: choosing the device, running the graph, and reading results. */
import { assertSettings } from "../graph/assert.js";
import { isDebug } from "../graph/debug.js";
import type { Device, DeviceBuffer, ExplainOptions } from "./device.js";
import type { HostArray } from "../graph/dtype.js";
import { DeviceError, LimitError } from "../graph/errors.js";
import { inputsRead } from "../graph/op.js";
import { assertDevice, bufferOn, own } from "./placement.js";
import { reclaim } from "./turns.js";
import { hold, letGo } from "../graph/holds.js";
import { outsideScopes } from "../graph/scope.js";
import { realizeStepwise } from "./stepwise.js";
import { graphOf, type Graph } from "../plan/signature.js";
import { assertAlive, tensor, type Call, type Tensor } from "../graph/tensor.js";
import { leavesOf, replaceLeaves, type Tree } from "../graph/tree.js";

/** Where and how {@link realize} computes. */
export interface RealizeOptions {
  /** Where to compute. By default the device that the inputs live on, or else `cpu()`. */
  readonly device?: Device;
  /** Trees whose memory the results may take over; their tensors are unusable afterwards. */
  readonly donate?: readonly Tree[];
  /** false: one kernel per operation. The values agree with the fused ones up to rounding. */
  readonly fuse?: boolean;
}

/** Loaded when it is first needed: a page that computes on WebGPU does not carry it. */
const defaultDevice = async (): Promise<Device> => (await import("./cpu/device.js")).cpu();

/** Runs on one device one after another, so that a tensor is never computed twice. */
const pending = new WeakMap<Device, Promise<unknown>>();

/**
 * Computes all tensors of the tree at once, on one device, and returns the tree. Its tensors then own memory on
 * that device and no longer depend on the graph they came from.
 * @throws DeviceError if an input lives on another device; NumericError in debug mode at the first NaN or infinity.
 */
export async function realize<T extends Tree>(tree: T, options: RealizeOptions = {}): Promise<T> {
  assertSettings("realize", options, { device: "own", donate: "list?", fuse: "flag" });
  if (options.device !== undefined) assertDevice("realize", options.device);
  const roots = [...new Set(leavesOf(tree))];
  for (const root of roots) assertAlive(root, "realize");
  await runRoots(roots, options);
  return tree;
}

async function runRoots(roots: readonly Tensor[], options: RealizeOptions): Promise<void> {
  const { leaves, device } = behind(roots);
  await inTurn([...roots, ...leaves], options.device ?? device, (on) => realizeOn(on, roots, options));
}

/**
 * Runs `work` on a device (by default the standard one) behind what runs there already.
 * @param held Tensors that stay until it is over, though the user disposes them meanwhile.
 */
export async function inTurn<T>(
  held: readonly Tensor[],
  named: Device | undefined,
  work: (device: Device) => Promise<T>,
): Promise<T> {
  for (const x of held) hold(x);
  try {
    const device = named ?? (await defaultDevice());
    const before = pending.get(device) ?? Promise.resolve();
    // What a device makes for itself (tables, constants of plans) is no scope's.
    const start = (): Promise<T> => outsideScopes(() => work(device));
    const run = before.then(start, start);
    pending.set(device, run);
    return await run;
  } finally {
    for (const x of held) if (letGo(x) && x.source.kind !== "disposed") x.release("disposed");
  }
}

async function realizeOn(
  device: Device,
  roots: readonly Tensor[],
  { donate = [], fuse = true }: RealizeOptions,
): Promise<void> {
  const asked = new Set(roots);
  const donated = leavesOf(donate as Tree).filter((x) => !asked.has(x));
  if (isDebug()) await realizeStepwise(device, roots, (open) => placedGraph(device, open));
  const open = roots.filter((root) => root.source.kind === "call");
  const buffers = donated.flatMap((x) =>
    x.source.kind === "buffer" && x.source.device === device ? [x.source.buffer] : [],
  );
  const run = async (): Promise<readonly DeviceBuffer[]> =>
    device.run(placedGraph(device, open), { donated: buffers, fuse });
  let results: readonly DeviceBuffer[] = [];
  if (open.length > 0)
    try {
      results = await run();
    } catch (error) {
      // The memory may be full of tensors that nobody has any more.
      if (!(error instanceof LimitError) || !(await reclaim(device))) throw error;
      results = await run();
    }
  open.forEach((root, k) => own(root, device, results[k]!));
  for (const root of roots) settle(root, device);
  for (const x of donated) x.release("donated");
}

/** Host data becomes memory of the device alone once it is a root. */
export function settle(root: Tensor, device: Device): void {
  if (root.source.kind !== "call") root.source = { kind: "buffer", device, buffer: bufferOn(root, device, "realize") };
}

/** The graph behind the roots, every leaf checked to be alive and readable on the device. */
function placedGraph(device: Device, roots: readonly Tensor[]): Graph {
  const graph = graphOf(roots);
  for (const leaf of graph.leaves) bufferOn(leaf, device, "realize");
  return graph;
}

/** The tensors with values behind the roots, and the device that one of them lives on. */
function behind(roots: readonly Tensor[]): { readonly leaves: readonly Tensor[]; readonly device: Device | undefined } {
  const seen = new Set<Call>();
  const leaves = new Set<Tensor>();
  let device: Device | undefined;
  const stack = [...roots];
  while (stack.length > 0) {
    const x = stack.pop()!;
    const { source } = x;
    if (source.kind === "buffer") device ??= source.device;
    if (source.kind !== "call") leaves.add(x);
    else if (!seen.has(source.call)) {
      seen.add(source.call);
      for (const input of inputsRead(source.call)) stack.push(input);
    }
  }
  return { leaves: [...leaves], device };
}

/** Realizes one tensor and copies it to the host. */
export async function readTensor(x: Tensor): Promise<HostArray> {
  if (x.source.kind === "host") {
    const { data } = x.source;
    return data instanceof Float64Array ? Float32Array.from(data) : data.slice();
  }
  await runRoots([x], {});
  if (x.source.kind !== "buffer")
    throw new DeviceError(
      `data: expected a realized tensor, got ${x.source.kind}; await one realize at a time for a tensor you dispose`,
    );
  return x.source.device.download(x.source.buffer);
}

/**
 * The same values on a device: tensors that live there already are themselves, others are read and copied; the ones given stay.
 * What is not computed yet is computed where it lives.
 */
export async function to<T extends Tree>(tree: T, device: Device): Promise<T> {
  assertDevice("to", device);
  const leaves = leavesOf(tree);
  const moved = await Promise.all(
    leaves.map(async (x) => {
      assertAlive(x, "to");
      if (x.source.kind === "buffer" && x.source.device === device) return x;
      return tensor(await x.data(), x.shape, x.dtype);
    }),
  );
  await realize(moved, { device });
  return replaceLeaves(tree, moved);
}

/**
 * The kernels that realizing the tree would run, one a line, with what was fused into each. Lines that begin with # say
 * more: why a kernel record has no program, or with `memory` what is in memory where most is. `passes` prints instead
 * what each pass of the planner made. The reference device, which does not plan, prints its calls.
 */
export async function explain(
  tree: Tree,
  options: ExplainOptions & { readonly device?: Device } = {},
): Promise<string> {
  assertSettings("explain", options, { device: "own", memory: "flag", passes: "flag" });
  if (options.device !== undefined) assertDevice("explain", options.device);
  const roots = leavesOf(tree).filter((x) => x.source.kind === "call");
  const device = options.device ?? behind(roots).device ?? (await defaultDevice());
  return device.explain(placedGraph(device, roots), options);
}
