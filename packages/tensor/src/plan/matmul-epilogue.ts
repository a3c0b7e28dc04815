/** Elementwise work behind a native program, computed where the program stores its result. */
import { BYTES_PER_ELEMENT, isReal, type DType } from "../graph/dtype.js";
import { callOf } from "../graph/calls.js";
import type { Scalar } from "../ir/loop.js";
import type { Tensor } from "../graph/tensor.js";
import {
  readersOf,
  type Draft,
  type LoopDraft,
  type NativeDraft,
  type NativeOperand,
  type PlanOptions,
} from "./draft.js";
import { stridesOf } from "../graph/shape.js";
import { tryLowerLoop, type LoweredLoop, type LoweringContext } from "./lower.js";
import { contextOf } from "./lower-kernels.js";
import type { Planning } from "./planning.js";

/**
 * What is stored instead of an element of the program's own result: an expression over axes that divide the result row-major,
 * in which `reduced` 0 stands for that element. Its loads number the call's inputs behind the operands, from 0, row-major.
 */
export interface Epilogue {
  readonly extents: readonly number[];
  readonly inputs: readonly { readonly dtype: DType; readonly size: number }[];
  readonly value: Scalar;
  /** How it is stored. */
  readonly dtype: DType;
}

/** What a kernel stores and how it is computed. */
export interface Stored {
  readonly outputs: readonly Tensor[];
  readonly lowered: LoweredLoop;
}

/** Kernels by the draft whose place they take: a native one stores what comes of its result, a loop what is left for it, if anything. */
export interface Epilogues {
  readonly finished: ReadonlyMap<Draft, Stored>;
  readonly left: ReadonlyMap<Draft, Stored | undefined>;
}

/**
 * Finds loops that finish the result of a native kernel: of its size, of real numbers, without reductions, and the only reader of a
 * result that is no root. Of a loop that stores several results, one goes over if it leads to the others.
 * @param ops Native ops whose programs take epilogues.
 * Where a tensor is too large to be bound whole, the program runs in parts and takes none.
 */
export function findEpilogues(
  drafts: readonly Draft[],
  isRoot: ReadonlySet<Tensor>,
  context: LoweringContext,
  ops: ReadonlySet<string>,
  { maxBuffers, maxBindingBytes = Infinity }: Pick<PlanOptions, "maxBuffers" | "maxBindingBytes">,
  which: (loop: LoopDraft) => boolean,
): Epilogues {
  const readers = readersOf(drafts);
  const made = new Set(drafts.flatMap(({ outputs }) => outputs));
  const finished = new Map<Draft, Stored>();
  const left = new Map<Draft, Stored | undefined>();
  const finishes = (reader: Draft | undefined): reader is LoopDraft =>
    reader?.kind === "loop" && !left.has(reader) && which(reader) && reader.reductions.length === 0;
  // Of two products in one loop the later takes it: what the other was made of is not needed so long.
  for (const draft of drafts.toReversed()) {
    if (draft.kind !== "native" || !takesOne(draft, ops)) continue;
    const result = draft.outputs[0]!;
    const [loop, ...others] = readers.get(result) ?? [];
    if (others.length > 0 || isRoot.has(result) || !finishes(loop)) continue;
    const lower = (outputs: readonly Tensor[], hidden: readonly Tensor[], element?: Tensor): LoweredLoop | undefined =>
      tryLowerLoop(outputs, [], {
        resolve: (x) => context.resolve(x),
        isStored: (x) => !callOf(x) || (made.has(x) && !hidden.includes(x)),
        ...(element && { element }),
      });
    for (const y of loop.outputs) {
      if (y.size !== result.size || !isReal(y.dtype)) continue;
      const tail = lower([y], [result, ...loop.outputs], result);
      if (
        !tail ||
        new Set([...draft.sources, ...tail.inputs]).size + 2 > maxBuffers ||
        [...draft.sources, ...tail.inputs, y].some(({ size }) => size * BYTES_PER_ELEMENT > maxBindingBytes)
      )
        continue;
      const rest = loop.outputs.filter((x) => x !== y);
      const lowered = rest.length > 0 ? lower(rest, [result]) : undefined;
      if (rest.length > 0 && (!lowered || lowered.inputs.some((x) => rest.includes(x)))) continue;
      finished.set(draft, { outputs: [y], lowered: tail });
      left.set(loop, lowered && { outputs: rest, lowered });
      break;
    }
  }
  return { finished, left };
}

/** Whether a native kernel may have an epilogue and has none. */
const takesOne = ({ call, epilogue }: NativeDraft, ops: ReadonlySet<string>): boolean =>
  !epilogue && ops.has(call.op.name) && call.inputs[0]!.size > 0;

/** Products that are added to the sum so far as they are stored; joined to one loop, all of them would have to be in memory. */
export const attachSums = (planning: Planning): Planning =>
  planning.sums.size === 0
    ? planning
    : attachEpilogues(planning, ({ outputs }) => outputs.length === 1 && planning.sums.has(outputs[0]!));

/**
 * Native kernels with the elementwise loops behind them, as far as their programs take those.
 * @param which Loops that are asked for.
 */
export function attachEpilogues(planning: Planning, which: (loop: LoopDraft) => boolean = () => true): Planning {
  const { drafts, isRoot, options } = planning;
  if (!options.fuse || !options.epilogues) return planning;
  const { finished, left } = findEpilogues(drafts, isRoot, contextOf(planning), options.epilogues, options, which);
  const attached = drafts.flatMap((draft): Draft[] => {
    if (draft.kind === "loop") {
      const rest = left.has(draft) ? left.get(draft) : draft;
      return rest ? [{ ...draft, outputs: rest.outputs, lowered: rest.lowered }] : [];
    }
    const found = finished.get(draft);
    return [draft.kind === "native" && found ? withEpilogue(draft, found) : draft];
  });
  return { ...planning, drafts: attached };
}

function withEpilogue(draft: NativeDraft, found: Stored): NativeDraft {
  const { extents, inputs, outputs } = found.lowered;
  const operands = inputs.map((x): NativeOperand => ({
    shape: x.shape,
    dtype: x.dtype,
    offset: 0,
    strides: stridesOf(x.shape),
  }));
  const epilogue = {
    extents,
    inputs: inputs.map(({ dtype, size }) => ({ dtype, size })),
    dtype: outputs[0]!.dtype,
    value: outputs[0]!.value,
  };
  return {
    ...draft,
    operands: [...draft.operands, ...operands],
    sources: [...draft.sources, ...inputs],
    outputs: found.outputs,
    epilogue,
  };
}
