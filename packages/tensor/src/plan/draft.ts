/** What a plan is made for, and kernels in the making. */
import type { GpuLimits } from "../devices/webgpu/program.js";
import type { DType } from "../graph/dtype.js";
import type { Shape } from "../graph/shape.js";
import type { Call, Tensor } from "../graph/tensor.js";
import type { LoweredLoop } from "./lower.js";
import type { Epilogue } from "./matmul-epilogue.js";
import type { ScanDraft, ScanSupport } from "./scan-draft.js";

export interface PlanOptions {
  readonly device: string;
  readonly fuse: boolean;
  /** Buffers a kernel may bind. */
  readonly maxBuffers: number;
  /** Bytes of a buffer that a row kernel may bind; larger tensors keep kernels that run in parts. */
  readonly maxBindingBytes?: number;
  /** Work, in additions, of values that are computed again where they are used rather than kept; 0 by default. */
  readonly computedAgain?: number;
  /** Operands of its size that are read again in the place of a small value, at most; 1.25 by default. */
  readonly besideSmall?: number;
  /** Whether kernels that do not wait for each other run at once; false by default. */
  readonly together?: boolean;
  /** Native ops whose programs take an {@link Epilogue}; none by default. */
  readonly epilogues?: ReadonlySet<string>;
  /** Which fused recurrences the device runs; without it linear recurrences run by themselves. */
  readonly scans?: ScanSupport | undefined;
  /** Native ops beyond those of every device that the device runs; others are expanded. */
  readonly natives?: ReadonlySet<string>;
  /** What a program of the WebGPU device may use, for variants of kernel records to decide by. */
  readonly limits?: GpuLimits;
}

/** How an operand lies in its slot: row-major unless the op reads strided views. */
export interface NativeOperand {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly offset: number;
  readonly strides: readonly number[];
}

export interface LoopDraft {
  readonly kind: "loop";
  outputs: readonly Tensor[];
  reductions: readonly Call[];
  lowered: LoweredLoop;
  /** A row kernel; it is not joined any further. */
  readonly rows?: true;
}

export interface NativeDraft {
  readonly kind: "native";
  readonly call: Call;
  readonly operands: readonly NativeOperand[];
  readonly sources: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly note?: string | undefined;
  readonly epilogue?: Epilogue;
  /** Inputs of a kernel record whose gradients its program stores as f16. */
  readonly rounded?: ReadonlySet<string>;
}

export type Draft = LoopDraft | ScanDraft | NativeDraft;

/** Tensors with memory that a kernel reads. */
export const readsOf = (draft: Draft): readonly Tensor[] =>
  draft.kind === "loop" ? draft.lowered.inputs : draft.kind === "scan" ? draft.inputs : draft.sources;

/** The drafts that read each tensor, in their order. */
export function readersOf(drafts: readonly Draft[]): Map<Tensor, Draft[]> {
  const readers = new Map<Tensor, Draft[]>();
  for (const draft of drafts)
    for (const x of new Set(readsOf(draft))) {
      const list = readers.get(x);
      if (list) list.push(draft);
      else readers.set(x, [draft]);
    }
  return readers;
}
