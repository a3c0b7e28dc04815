/** What takes part in a benchmark, and what a benchmark case is. */
import type { Device } from "@seqmix/tensor";
import type { Bar } from "./bars.js";
import type { JaxPackage } from "./peers/jax.js";
import type { OnnxRuntimePackage } from "./peers/onnxruntime.js";
import type { FftPackage } from "./peers/fft.js";
import type { PffftPackage } from "./peers/pffft.js";
import type { TensorflowPackage } from "./peers/tensorflow.js";
import type { Check, KernelRow, Products } from "./row.js";

/** Somebody doing a case's work, with the inputs in place. */
export interface Contestant {
  /** Does the work once and gives its results' memory back. */
  run(): void | Promise<void>;
  /** The first output of the work, to see that all do the same; of a training step the first step's loss. */
  read(): ArrayLike<number> | Promise<ArrayLike<number>>;
  /** Gives everything back. */
  close(): void | Promise<void>;
  /** How often a run does the work, for work that comes in bursts; times are of one. 1 by default. */
  readonly times?: number;
}

/** This project's own implementation on a device. */
export interface OwnContestant extends Contestant {
  /** The program that runs. */
  readonly variant: string;
  /** Compares a result with the float64 reference. */
  check(): Promise<Check>;
  /** The most memory a run takes beside the inputs, bytes; where the device counts it. */
  readonly extraBytes?: number;
  /** Share of a run in which a GPU runs no kernel, 0 to 1; undefined where that cannot be told. */
  idle?(): Promise<number | undefined>;
}

/** The peers that are installed. */
export interface PeerPackages {
  readonly onnxRuntime: OnnxRuntimePackage;
  readonly tensorflow: TensorflowPackage;
  readonly jax: JaxPackage;
  readonly fft: FftPackage;
  readonly pffft: PffftPackage;
}

/** A kernel of one size. */
export interface BenchmarkCase {
  /** Name of the record or op. */
  readonly kernel: string;
  /** Axes with sizes. */
  readonly shape: string;
  readonly mode: KernelRow["mode"];
  /** Floating-point operations of a run. */
  readonly flops: number;
  /** Bytes that must be read and written once. */
  readonly bytes: number;
  /** The rate people know the kernel by. */
  readonly rate: "GFLOP/s" | "GB/s" | "tokens/s";
  /** Tokens of a training step. */
  readonly tokens?: number;
  readonly bars: readonly Bar[];
  /** In their place where products of f32 are of tf32. */
  readonly tf32Bars?: readonly Bar[];
  /** Element type of inputs and outputs; "f32" by default. */
  readonly dtype?: KernelRow["dtype"];
  /** A figure measured elsewhere. */
  readonly reference?: string;
  /** Why the case cannot run on a device; undefined or without this: it can. */
  readonly missing?: (device: Device) => string | undefined;
  /** Makes the inputs. */
  prepare(): PreparedCase;
}

/** A case with its inputs. */
export interface PreparedCase {
  /** @param products How exact products of f32 are there. */
  open(device: Device, products: Products): Promise<OwnContestant>;
  /** What takes turns with the case on the same device; its results are not compared. */
  readonly beside?: (device: Device) => Promise<Readonly<Record<string, Contestant>>>;
  /** Peers that need no package. */
  readonly loops: Readonly<Record<string, () => Contestant>>;
  /** Peers that need one. */
  readonly peers: Readonly<Record<string, (packages: PeerPackages) => Contestant | Promise<Contestant>>>;
}
