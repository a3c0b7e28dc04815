/** Gradients of f16 operands that a kernel record's program rounds and stores itself, so that none is stored as f32 first. */
import { callOf } from "../graph/calls.js";
import { isReal } from "../graph/dtype.js";
import type { KernelAttributes } from "../graph/kernel.js";
import type { Tensor } from "../graph/tensor.js";
import { readersOf, type Draft, type NativeDraft } from "./draft.js";
import type { Planning } from "./planning.js";
import { isReasons, variantFor } from "./variants.js";

/** Where nothing but a cast to f16 reads a gradient, and the program stores f16, the cast's result takes the gradient's place. */
export function storeGradientsInHalf(planning: Planning): Planning {
  const { drafts, options } = planning;
  if (!options.fuse || options.limits?.storesHalf !== true) return planning;
  const readers = readersOf(drafts);
  const gone = new Set<Draft>();
  const rounded = drafts.map((draft): Draft => {
    if (draft.kind !== "native") return draft;
    const names = halvesOf(draft, planning);
    const results = draft.outputs.map((x, k) => {
      const cast = names[k] === undefined ? undefined : castOf(x, readers.get(x) ?? [], planning);
      if (cast) gone.add(cast);
      return cast?.outputs[0];
    });
    if (results.every((y) => y === undefined)) return draft;
    return {
      ...draft,
      outputs: draft.outputs.map((x, k) => results[k] ?? x),
      rounded: new Set(names.filter((_, k) => results[k])) as ReadonlySet<string>,
    };
  });
  return gone.size === 0 ? planning : { ...planning, drafts: rounded.filter((draft) => !gone.has(draft)) };
}

/** By result, the name of the f16 operand whose gradient it is, if the program can store it as f16. */
function halvesOf({ call }: NativeDraft, { options }: Planning): readonly (string | undefined)[] {
  if (call.op.name !== "kernelGradient") return [];
  const variant = variantFor(call, options);
  if (isReasons(variant) || variant.device !== "webgpu" || variant.gradientsInHalf !== true) return [];
  const { kase, forward } = call.attributes as KernelAttributes;
  return [...kase.present]
    .filter((_, k) => isReal(forward!.inputs[k]!.dtype))
    .map((name) => (kase.halves.has(name) ? name : undefined));
}

/** The kernel that does nothing but round x, if that is all that reads it. */
function castOf(x: Tensor, readers: readonly Draft[], { isRoot, resolve }: Planning): Draft | undefined {
  const [draft, ...others] = readers;
  if (!draft || others.length > 0 || isRoot.has(x) || draft.kind !== "loop" || draft.outputs.length !== 1) return;
  const y = draft.outputs[0]!;
  const call = callOf(y);
  return y.dtype === "f16" && call?.op.name === "cast" && resolve(call.inputs[0]!) === x ? draft : undefined;
}
