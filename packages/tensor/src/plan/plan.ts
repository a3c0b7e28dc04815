/** What the planner makes: kernels in the order they run, over numbered blocks of memory. */
import type { DType } from "../graph/dtype.js";
import type { Shape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import type { LoopKernel } from "../ir/loop.js";
import type { ScanKernel } from "../ir/scan-kernel.js";
import type { NativeOperand } from "./draft.js";
import type { Epilogue } from "./matmul-epilogue.js";

/** A block of memory of a plan. */
export interface Slot {
  readonly dtype: DType;
  readonly size: number;
  readonly shape: Shape;
  /** Parts whose sum it stands for, side by side: what a device makes of a product that it divides. */
  readonly parts?: number;
  /** Line of user code that made it, of a graph built in debug mode. */
  readonly line?: string;
}

export type Step =
  | {
      readonly kind: "loop";
      readonly name: string;
      readonly kernel: LoopKernel;
      readonly inputs: readonly number[];
      readonly outputs: readonly number[];
    }
  | {
      readonly kind: "scan";
      readonly name: string;
      readonly kernel: ScanKernel;
      readonly inputs: readonly number[];
      readonly outputs: readonly number[];
    }
  | {
      readonly kind: "native";
      readonly name: string;
      readonly call: NativeCall;
      readonly inputs: readonly number[];
      readonly outputs: readonly number[];
    };

/** A native program's call without its graph. */
export interface NativeCall {
  readonly op: string;
  readonly attributes: unknown;
  readonly inputs: readonly NativeOperand[];
  readonly outputs: readonly { readonly shape: Shape; readonly dtype: DType }[];
  /** Computed from each element before it is stored; its inputs come after the operands. */
  readonly epilogue?: Epilogue;
}

export interface Plan {
  readonly slots: readonly Slot[];
  /** Slots 0..leafCount-1 are the leaves of the signature. */
  readonly leafCount: number;
  /** Host constants that expanded kernels brought in, by slot. */
  readonly constants: readonly { readonly slot: number; readonly tensor: Tensor }[];
  readonly steps: readonly Step[];
  /** Slot of each root. */
  readonly roots: readonly number[];
  /** Which kernel records run as what they are composed of although they have variants, and why. */
  readonly notes: readonly string[];
}
