/** Kernels that read more buffers than a pass may bind, cut into several. */
import { nodesOf, product, type Affine, type LoopKernel, type Scalar } from "@seqmix/tensor/backend";
import { fitsBuffers, type NumberedKernel } from "./numbered.js";
import { rewriter } from "../scans/fused/expressions.js";

const inputsOf = (values: readonly Scalar[]): Set<number> =>
  new Set([...nodesOf(values)].flatMap((node) => (node.op === "load" ? [node.input] : [])));

/**
 * Stores parts of the expressions, over all points of the loops they stand in, until what is left fits.
 * @param store Gives a new buffer for an intermediate result of so many elements.
 */
export function fitBuffers(part: NumberedKernel, limit: number, store: (size: number) => number): NumberedKernel[] {
  const { kernel, inputs, outputs } = part;
  if (fitsBuffers(kernel, limit)) return [part];
  const reducing = kernel.reductions.length > 0;
  const axes = kernel.extents.length + kernel.reduceExtents.length;

  if (reducing && kernel.outputs.some(({ value }) => value.op !== "reduced")) {
    // the reductions by themselves, then what is computed from them
    const size = product(kernel.extents);
    const buffers = kernel.reductions.map(() => store(size));
    const reduced = kernel.reductions.map(({ value: { dtype } }, reduction) => ({
      dtype,
      value: { op: "reduced", dtype, reduction } as Scalar,
    }));
    const loads = kernel.reductions.map(({ value: { dtype } }, k): Scalar => ({
      op: "load",
      dtype,
      input: kernel.inputs.length + k,
      index: rowMajor(kernel.extents, kernel.extents.length),
    }));
    const replace = firstAxes(
      (node) => (node.op === "reduced" ? loads[node.reduction] : undefined),
      kernel.extents.length,
    );
    const tail: LoopKernel = {
      extents: kernel.extents,
      reduceExtents: [],
      reductions: [],
      inputs: [...kernel.inputs, ...reduced.map(({ dtype }) => ({ dtype, size }))],
      outputs: kernel.outputs.map((o) => ({ ...o, value: replace(o.value) })),
    };
    return [
      ...fitBuffers({ kernel: { ...kernel, outputs: reduced }, inputs, outputs: buffers }, limit, store),
      ...fitBuffers({ kernel: tail, inputs: [...inputs, ...buffers], outputs }, limit, store),
    ];
  }

  const node = largestPart(
    (reducing ? kernel.reductions : kernel.outputs).map((r) => r.value),
    limit - 1,
  );
  if (!node) return inGroups(part, limit, store);
  const extents = reducing ? [...kernel.extents, ...kernel.reduceExtents] : kernel.extents;
  const size = product(extents);
  const buffer = store(size);
  const cut: LoopKernel = {
    extents,
    reduceExtents: [],
    reductions: [],
    inputs: kernel.inputs,
    outputs: [{ dtype: node.dtype, value: node }],
  };
  const load: Scalar = { op: "load", dtype: node.dtype, input: kernel.inputs.length, index: rowMajor(extents, axes) };
  const replace = firstAxes((other) => (other === node ? load : undefined), axes);
  const rest: LoopKernel = {
    ...kernel,
    inputs: [...kernel.inputs, { dtype: node.dtype, size }],
    reductions: kernel.reductions.map((r) => ({ ...r, value: replace(r.value) })),
    outputs: kernel.outputs.map((o) => ({ ...o, value: replace(o.value) })),
  };
  return [
    { kernel: cut, inputs, outputs: [buffer] },
    ...fitBuffers({ kernel: rest, inputs: [...inputs, buffer], outputs }, limit, store),
  ];
}

/**
 * Computes the results of a kernel half by half. They are stored aside and copied when all are known: a result may lie in
 * the memory of an input that the other half reads.
 */
function inGroups(
  { kernel, inputs, outputs }: NumberedKernel,
  limit: number,
  store: (size: number) => number,
): NumberedKernel[] {
  const count = outputs.length;
  if (count < 2)
    throw new TypeError(
      "webgpu: expected a kernel that can be cut to fit the adapter's buffers, got none; report this as a bug",
    );
  const size = product(kernel.extents);
  const aside = outputs.map(() => store(size));
  const computed: NumberedKernel[] = [];
  const copied: NumberedKernel[] = [];
  for (const [from, to] of [
    [0, count >> 1],
    [count >> 1, count],
  ] as const) {
    const values = kernel.outputs.slice(from, to);
    // where there are reductions every output is one of them
    const used = [...new Set(values.flatMap(({ value }) => (value.op === "reduced" ? [value.reduction] : [])))];
    const own = values.map((output) =>
      output.value.op === "reduced"
        ? { ...output, value: { ...output.value, reduction: used.indexOf(output.value.reduction) } }
        : output,
    );
    computed.push(
      ...fitBuffers(
        {
          kernel: { ...kernel, reductions: used.map((k) => kernel.reductions[k]!), outputs: own },
          inputs,
          outputs: aside.slice(from, to),
        },
        limit,
        store,
      ),
    );
    values.forEach((output, k) => {
      const value: Scalar = {
        op: "load",
        dtype: output.value.dtype,
        input: 0,
        index: rowMajor(kernel.extents, kernel.extents.length),
      };
      copied.push({
        kernel: {
          extents: kernel.extents,
          reduceExtents: [],
          reductions: [],
          inputs: [{ dtype: value.dtype, size }],
          outputs: [{ ...output, value }],
        },
        inputs: [aside[from + k]!],
        outputs: [outputs[from + k]!],
      });
    });
  }
  return [...computed, ...copied];
}

/** The expression that reads several buffers, most of all, but no more than the limit. */
function largestPart(values: readonly Scalar[], limit: number): Scalar | undefined {
  let best: Scalar | undefined;
  let most = 1;
  for (const node of nodesOf(values)) {
    const count = inputsOf([node]).size;
    if (count <= limit && count > most) [best, most] = [node, count];
  }
  return best;
}

function rowMajor(extents: readonly number[], axes: number): Affine {
  const coefficients = new Array<number>(axes).fill(0);
  let stride = 1;
  for (let k = extents.length - 1; k >= 0; k--) {
    coefficients[k] = stride;
    stride *= extents[k]!;
  }
  return { offset: 0, coefficients };
}

/** Rebuilds expressions with some nodes replaced, over the first `axes` axes. Shared nodes stay shared. */
const firstAxes = (instead: (node: Scalar) => Scalar | undefined, axes: number): ((node: Scalar) => Scalar) =>
  rewriter(({ offset, coefficients }) => ({ offset, coefficients: coefficients.slice(0, axes) }), instead);
