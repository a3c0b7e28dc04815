/**
 * A backend: something that keeps buffers and runs graphs. Model code never sees one;
 * a device is chosen where values are made real.
 */
import type { DType, HostArray } from "../graph/dtype.js";
import type { Tensor } from "../graph/tensor.js";
import type { Graph } from "../plan/signature.js";

/** Memory of one tensor on one device, row-major. What is in it is the device's business. */
export interface DeviceBuffer {
  /** Element type. */
  readonly dtype: DType;
  /** Number of elements. */
  readonly size: number;
  /** Set when the memory was given back. */
  released: boolean;
}

/** Live tensors on a device. */
export interface MemoryCount {
  /** Buffers in use. */
  readonly buffers: number;
  /** Their bytes. */
  readonly bytes: number;
  /** Highest `bytes` so far, temporaries of running plans included. */
  readonly peakBytes: number;
  /** Buffers whose tensor was garbage collected without `dispose`. */
  readonly collected: number;
}

/** How a device runs a graph. @internal */
export interface RunOptions {
  /** Buffers whose memory the results may take over; they are released by the run. */
  readonly donated: readonly DeviceBuffer[];
  /** false: one kernel per operation, the baseline that fusion is tested against. */
  readonly fuse: boolean;
}

/** A graph with its plan and programs. @internal */
export interface PreparedGraph {
  /**
   * Computes the roots from other values of the leaves.
   * @param leaves In the order of the graph's, of the same shapes and types, readable on the device.
   * @returns Their new buffers, in order.
   */
  run(leaves: readonly Tensor[], donated: readonly DeviceBuffer[]): Promise<readonly DeviceBuffer[]>;
}

/** What `explain` prints beside the kernels. */
export interface ExplainOptions {
  /** What is in memory where most is: inputs, results and what lies between kernels, largest first; with lines in debug mode. */
  readonly memory?: boolean;
  /** In the place of the kernels, what each pass of the planner made. */
  readonly passes?: boolean;
}

/** A place to compute: `cpu()`, `reference()`, or another package's. */
export interface Device {
  /** "cpu", "webgpu", "reference". */
  readonly name: string;
  /** What the device found: threads, adapter, limits. */
  readonly description: string;
  /** Set where a program on the processor stands for the hardware, which is slow: a software adapter of WebGPU. */
  readonly software?: true;
  /** Copies host data to the device. `data` may have another element class than the device's own. @internal */
  upload(data: HostArray, dtype: DType): DeviceBuffer;
  /** Copies a buffer to the host. @internal */
  download(buffer: DeviceBuffer): Promise<HostArray>;
  /** Values that can be had at once, where the host sees the device's memory. @internal */
  peek?(buffer: DeviceBuffer): HostArray | undefined;
  /** Gives memory back; releasing twice is harmless. @internal */
  release(buffer: DeviceBuffer, how?: { readonly collected: boolean }): void;
  /** Computes the roots of a graph (unrealized, all leaves readable here) and returns their new buffers, in order. @internal */
  run(graph: Graph, options: RunOptions): Promise<readonly DeviceBuffer[]>;
  /** Makes a graph ready to run again and again, its leaves given each time. @internal */
  prepare(graph: Graph, options: Pick<RunOptions, "fuse">): PreparedGraph | Promise<PreparedGraph>;
  /** The kernels that `run` would execute, one a line. @internal */
  explain(graph: Graph, options?: ExplainOptions): string | Promise<string>;
  /** What lives on the device now. */
  memory(): MemoryCount;
  /** Ends worker threads or the GPU device; buffers are gone afterwards. */
  close(): Promise<void>;
}
