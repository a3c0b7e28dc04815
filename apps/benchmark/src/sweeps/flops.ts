/** Floating-point operations of a graph, read off its calls: the same on every device, whatever is fused. */
import type { Tensor } from "@seqmix/tensor";
import { elementwiseRecords } from "@seqmix/tensor/backend";

/** Attributes of a call of a kernel record, as far as they are used here. */
interface RecordCall {
  readonly record?: {
    cost(
      dims: Readonly<Record<string, number>>,
      options: unknown,
      present: ReadonlySet<string>,
    ): { readonly flops: number };
  };
  readonly kase?: {
    readonly dims: Readonly<Record<string, number>>;
    readonly options: unknown;
    readonly present: ReadonlySet<string>;
  };
}

/** Attributes of a recurrence that runs one step's graph for each position. */
interface StepCall {
  readonly body: { readonly inputs: readonly Tensor[]; readonly results: readonly Tensor[] };
  readonly length: number;
}

type Call = Extract<Tensor["source"], { readonly kind: "call" }>["call"];

/**
 * Operations of computing these tensors, each call once. A product of matrices [m k] [k n] is 2 m n k; a reduction one for each
 * element it reads; an elementwise function one for each result, transcendental ones too; a linear recurrence two for each state; one
 * that runs step by step those of its step for each position; a kernel record what it declares. Random numbers and moves are none.
 * @param given Tensors that are there: what they were made from does not count.
 */
export function flopsOf(roots: readonly Tensor[], given: readonly Tensor[] = []): number {
  const seen = new Set<Call>();
  const known = new Set(given);
  const open = [...roots];
  let total = 0;
  for (let x = open.pop(); x; x = open.pop()) {
    if (known.has(x) || x.source.kind !== "call" || seen.has(x.source.call)) continue;
    const { call } = x.source;
    seen.add(call);
    total += flopsOfCall(call);
    open.push(...call.inputs);
  }
  return total;
}

function flopsOfCall({ op, inputs, outputs, attributes }: Call): number {
  const size = outputs[0]!.size;
  switch (op.rule.kind) {
    case "elementwise":
      return outputs[0]!.dtype === "f32" && (elementwiseRecords[op.name]?.cost ?? "free") !== "free" ? size : 0;
    case "reduce":
      return inputs[0]!.size;
    case "native":
      if (op.name === "matmul") return 2 * size * inputs[0]!.shape.at(-1)!;
      if (op.name === "linearScan") return 2 * size;
      if (op.name === "sequentialScan") {
        const { body, length } = attributes as unknown as StepCall;
        return length * flopsOf(body.results, body.inputs);
      }
      return op.name === "scatterAdd" ? inputs[0]!.size : size;
    case "kernel": {
      const { record, kase } = attributes as RecordCall;
      return record && kase ? record.cost(kase.dims, kase.options, kase.present).flops : 0;
    }
    default:
      return 0;
  }
}
