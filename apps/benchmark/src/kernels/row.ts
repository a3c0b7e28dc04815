/** The result file of the kernel benchmark. */
import type { Timing } from "./statistics.js";

/** How exact products of f32 are. */
export type Products = "f32" | "tf32";

/** How a result compared with the float64 reference in the same run. */
export interface Check {
  /** red: an error above the tolerance. */
  readonly check: "green" | "red";
  /** Infinity (null in the file) if a value is missing or not a number. */
  readonly error: number;
  readonly tolerance: number;
  /** "relative": largest difference over the reference's largest magnitude; "ulp": in units of the last place of a float32. */
  readonly unit: "relative" | "ulp";
  /** What was compared. */
  readonly coverage: string;
}

/** One kernel of one size on one device with one number of threads. */
export interface KernelRow extends Timing {
  /** Name of the record or op. */
  readonly kernel: string;
  /** The program that ran. */
  readonly variant: string;
  readonly device: string;
  readonly threads: number;
  /** Axes with sizes, e.g. "B8 L256 D128 N16" or "512x512x512". */
  readonly shape: string;
  readonly dtype: "f32" | "f16";
  /** How exact matrix products were: of f16 operands, of f32, or of f32 rounded to 10 bits of mantissa. */
  readonly products: Products | "f16";
  readonly mode: "fwd" | "fwd+bwd" | "step";
  /** Least memory traffic of a run: inputs and outputs once. */
  readonly bytes: number;
  /** Floating-point operations of a run; an exponential counts as one. */
  readonly flops: number;
  /** Of training steps of a language model. */
  readonly tokensPerSecond?: number;
  /** The most memory that the first run took beside the inputs: results and temporaries, bytes. */
  readonly extraBytes?: number;
  /** Share of a step in which the GPU ran no kernel, 0 to 1. */
  readonly idle?: number;
  readonly check: Check["check"];
  /** What `check` stands on. */
  readonly checkDetail: Omit<Check, "check">;
  /** Largest error found in units of the last place, where it was measured. */
  readonly maxUlp?: number;
  /** Median ms of others doing the same in the same rounds. */
  readonly peers: Readonly<Record<string, number>>;
  /** The figure that is asked of this row, if one is; null if it can't be judged: a red check, or a peer that was not measured. */
  readonly bar?: { readonly asked: string; readonly reached: string | null; readonly met: boolean | null };
  /** A figure measured elsewhere, to know the order of magnitude. */
  readonly reference?: string;
}

/** A case that the device cannot run. */
export interface NotRun extends Pick<KernelRow, "kernel" | "shape" | "mode"> {
  readonly reason: string;
}

/** The whole file. */
export interface KernelReport {
  /** The day, YYYY-MM-DD. */
  readonly measured: string;
  /** Processor, cores, Node, and how busy it was. */
  readonly machine: string;
  /** What the device says of itself. */
  readonly adapter: string;
  /** Of this repository (with its commit), its packages, Node, and the peers measured. */
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly KernelRow[];
  readonly notRun?: readonly NotRun[];
}
