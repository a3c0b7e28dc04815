/**
 * Kernels whose memory exceeds what a pass may bind, cut into parts of their points: each part binds a window of its
 * results and of every operand. An operand that a part needs more of than one binding holds (a table, a transposed
 * view, a long row) is bound as several windows that follow each other.
 */
import { LimitError, type DType } from "@seqmix/tensor";
import { nodesOf, product, roots, type Affine, type LoopKernel, type Range, type Scalar } from "@seqmix/tensor/backend";
import { bytesOf, widthOf, WINDOW_ALIGNMENT, type GpuLimits, type GpuPass, type GpuWindow } from "@seqmix/tensor/wgsl";
import { largestOf } from "./numbered.js";
import { loopPass, type LoopBuffers, type LoopForm } from "./text.js";

/** Elements that parts and windows of a kernel start at a multiple of. */
const stepOf = (kernel: LoopKernel): number =>
  WINDOW_ALIGNMENT / Math.min(...[...kernel.inputs, ...kernel.outputs].map(({ dtype }) => widthOf(dtype)));
/** Parts at most; beyond, operands are bound as several windows instead. */
const MOST_PARTS = 64;
/** The same where several windows are too many. */
const MOST_PARTS_TO_FIT = 256;
/** Elements that indices of 32 bits tell apart. */
const ADDRESSABLE = 2 ** 32;

/** Elements [from, to). */
interface Span {
  readonly from: number;
  readonly to: number;
}

/**
 * The passes of a kernel whose memory exceeds a binding.
 * @param kernel Simplified, of at least one point.
 * @throws LimitError if a part would need more bindings than the adapter has, or more elements than 32 bits count.
 */
export function passesInParts(
  kernel: LoopKernel,
  form: LoopForm,
  buffers: LoopBuffers,
  threads: number,
  limits: GpuLimits,
): GpuPass[] {
  const largest = largestOf(kernel);
  if (largest > ADDRESSABLE)
    throw new LimitError(
      `webgpu: expected at most ${ADDRESSABLE * 4} bytes in an operand of a kernel (indices have 32 bits), got ${largest * 4}; use smaller batches`,
    );
  const own = form === "columns" ? "serial" : form;
  return partsOf(kernel, limits).map((span) => partPass(kernel, own, buffers, threads, limits, span));
}

/** Whether {@link passesInParts} finds parts that bind no more than the adapter allows. */
export const fitsInParts = (kernel: LoopKernel, limits: GpuLimits): boolean =>
  largestOf(kernel) <= ADDRESSABLE &&
  partsOf(kernel, limits).every((span) => readingOf(kernel, span, limits).bound <= limits.buffers);

/** By input, how many windows the part that reads most of it binds. */
export function windowsRead(kernel: LoopKernel, limits: GpuLimits): ReadonlyMap<number, number> {
  const most = new Map<number, number>();
  for (const span of partsOf(kernel, limits))
    for (const [input, windows] of readingOf(kernel, span, limits).inputs)
      most.set(input, Math.max(most.get(input) ?? 0, windows.length));
  return most;
}

/** Elements of a binding: as many of each operand as f32 would have. */
function bindingOf(kernel: LoopKernel, limits: GpuLimits): number {
  const step = stepOf(kernel);
  return Math.floor(limits.bytes / (4 * step)) * step;
}

/** What a part reads: its kernel, the span and the windows by input, and how many bindings these are with the results. */
function readingOf(original: LoopKernel, { from, to }: Span, limits: GpuLimits, aliases?: LoopBuffers["aliases"]) {
  const kernel = decided(original, boxOf(original, from, to - from));
  const binding = bindingOf(original, limits);
  const spans = spansOf(kernel, from, to - from);
  // what is written over is seen through the window of the result, at the same points
  for (const input of aliases?.keys() ?? []) spans.set(input, { from, to });
  const inputs = new Map(
    [...spans].map(([input, span]) => [input, windowsOf(span, binding, kernel.inputs[input]!.dtype)] as const),
  );
  const bound =
    kernel.outputs.length +
    [...inputs].reduce((sum, [input, windows]) => sum + (aliases?.has(input) ? 0 : windows.length), 0);
  return { kernel, spans, inputs, bound };
}

function partPass(
  original: LoopKernel,
  form: LoopForm,
  buffers: LoopBuffers,
  threads: number,
  limits: GpuLimits,
  span: Span,
): GpuPass {
  const { kernel, spans, inputs, bound } = readingOf(original, span, limits, buffers.aliases);
  if (bound > limits.buffers) {
    const bytes = [...inputs.values()].flat().reduce((sum, window) => sum + window.bytes, 0);
    throw new LimitError(
      `webgpu: expected a kernel to read at most ${(limits.buffers - kernel.outputs.length) * limits.bytes} bytes at once (maxStorageBuffersPerShaderStage times maxStorageBufferBindingSize), got ${bytes} in ${bound} bindings; use smaller batches`,
    );
  }
  const part = { first: span.from, count: span.to - span.from, inputs };
  return loopPass(relativeTo(kernel, spans), form, { ...buffers, part }, threads);
}

/**
 * As few parts of the points as let every operand fit into a binding, or where parts do not help, as the results need; more
 * where that is what makes a part's bindings few enough.
 */
function partsOf(kernel: LoopKernel, limits: GpuLimits): readonly Span[] {
  const total = product(kernel.extents);
  const binding = bindingOf(kernel, limits);
  const cut = (length: number): readonly Span[] => within(total, length);
  const within = (slab: number, length: number): readonly Span[] =>
    Array.from({ length: total / slab }, (_, q) =>
      Array.from({ length: Math.ceil(slab / length) }, (_, k) => ({
        from: q * slab + k * length,
        to: q * slab + Math.min(slab, (k + 1) * length),
      })),
    ).flat();
  const worst = (parts: readonly Span[]): number =>
    Math.max(
      ...parts.flatMap(({ from, to }) =>
        [...spansOf(decided(kernel, boxOf(kernel, from, to - from)), from, to - from).values()].map(
          (span) => span.to - span.from,
        ),
      ),
    );
  const step = stepOf(kernel);
  let length = Math.min(binding, Math.ceil(total / step) * step);
  let parts = cut(length);
  while (length > step && worst(parts) > binding) {
    length = Math.ceil(length / 2 / step) * step;
    const smaller = cut(length);
    if (smaller.length > MOST_PARTS || worst(smaller) > 0.75 * worst(parts)) break;
    parts = smaller;
  }
  const isBound = (some: readonly Span[]): boolean =>
    some.every((span) => readingOf(kernel, span, limits).bound <= limits.buffers);
  if (isBound(parts)) return parts;
  // within the points of an outer axis: what lies on both sides of a border may be far apart in an operand
  const slabs = kernel.extents
    .map((_, axis) => product(kernel.extents.slice(axis)))
    .filter((size) => size % step === 0);
  const most = Math.max(MOST_PARTS_TO_FIT, 4 * Math.ceil(total / binding));
  for (let more = parts.length; more <= most; more *= 2)
    for (const slab of new Set([total, ...slabs])) {
      const each = Math.ceil((slab * more) / total);
      const smaller = within(slab, Math.ceil(slab / each / step) * step);
      if (smaller.length <= most && isBound(smaller)) return smaller;
    }
  return parts;
}

/** By input, the elements that points [first, first + count) read; the start is one where windows may start. */
function spansOf(kernel: LoopKernel, first: number, count: number): Map<number, Span> {
  const boxes = boxesOf(kernel, first, count);
  const step = stepOf(kernel);
  const spans = new Map<number, Span>();
  for (const node of nodesOf(roots(kernel))) {
    if (node.op !== "load") continue;
    const reach = (node.gather ?? []).map(({ size, stride }) => (size - 1) * stride);
    const { size } = kernel.inputs[node.input]!;
    for (const box of boxes) {
      const [lo, hi] = rangeOf(node.index, box);
      // guarded loads may reach beyond the buffer
      const from = Math.min(size - 1, Math.max(0, lo + reach.reduce((sum, by) => sum + Math.min(0, by), 0)));
      const to = Math.min(size, Math.max(from, hi + reach.reduce((sum, by) => sum + Math.max(0, by), 0)) + 1);
      const known = spans.get(node.input);
      const aligned = Math.floor(from / step) * step;
      spans.set(
        node.input,
        known ? { from: Math.min(known.from, aligned), to: Math.max(known.to, to) } : { from: aligned, to },
      );
    }
  }
  return spans;
}

function windowsOf({ from, to }: Span, binding: number, dtype: DType): GpuWindow[] {
  const width = widthOf(dtype);
  return Array.from({ length: Math.ceil((to - from) / binding) }, (_, k) => {
    const start = from + k * binding;
    return {
      from: start * width,
      bytes: k * binding + binding < to - from ? binding * width : bytesOf(to - start, dtype),
    };
  });
}

type Box = readonly (readonly [low: number, high: number])[];

/** The smallest and largest position along every axis among points [first, first + count). */
function boxOf({ extents, reduceExtents }: LoopKernel, first: number, count: number): Box {
  let [low, high] = [first, first + count - 1];
  let stride = product(extents);
  let whole = false;
  const outer = extents.map((extent): readonly [number, number] => {
    if (whole) return [0, extent - 1];
    stride /= extent;
    const [from, to] = [Math.floor(low / stride), Math.floor(high / stride)];
    low -= from * stride;
    high -= to * stride;
    whole = from < to;
    return [from, to];
  });
  return [...outer, ...reduceExtents.map((extent) => [0, extent - 1] as const)];
}

/** The points [first, first + count) as boxes: those along an axis whose inner points are all there, and what lies before and behind. */
function boxesOf({ extents, reduceExtents }: LoopKernel, first: number, count: number): Box[] {
  const reduced = reduceExtents.map((extent) => [0, extent - 1] as const);
  const whole = (axis: number): Box => extents.slice(axis).map((extent) => [0, extent - 1] as const);
  const within = (axis: number, low: number, high: number): Box[] => {
    if (axis === extents.length) return [[]];
    const stride = product(extents.slice(axis + 1));
    const [from, to] = [Math.floor(low / stride), Math.floor(high / stride)];
    const at = (place: number, low: number, high: number): Box[] =>
      within(axis + 1, low, high).map((box) => [[place, place], ...box]);
    if (from === to) return at(from, low - from * stride, high - from * stride);
    const between: Box[] = to - from > 1 ? [[[from + 1, to - 1], ...whole(axis + 1)]] : [];
    return [...at(from, low - from * stride, stride - 1), ...between, ...at(to, 0, high - to * stride)];
  };
  return within(0, first, first + count - 1).map((box) => [...box, ...reduced]);
}

function rangeOf({ offset, coefficients }: Affine, box: Box): readonly [low: number, high: number] {
  let [low, high] = [offset, offset];
  coefficients.forEach((c, k) => {
    const [from, to] = box[k]!;
    low += c * (c < 0 ? to : from);
    high += c * (c < 0 ? from : to);
  });
  return [low, high];
}

function mapNodes(
  kernel: LoopKernel,
  change: (node: Scalar, rewrite: (node: Scalar) => Scalar) => Scalar | undefined,
): LoopKernel {
  const done = new Map<Scalar, Scalar>();
  const rewrite = (node: Scalar): Scalar => {
    let result = done.get(node);
    if (!result) done.set(node, (result = change(node, rewrite) ?? rebuild(node)));
    return result;
  };
  const rebuild = (node: Scalar): Scalar => {
    if (node.op === "guard") return { ...node, value: rewrite(node.value) };
    if (node.op === "load")
      return node.gather ? { ...node, gather: node.gather.map((g) => ({ ...g, value: rewrite(g.value) })) } : node;
    return "args" in node ? { ...node, args: node.args.map(rewrite) } : node;
  };
  return {
    ...kernel,
    reductions: kernel.reductions.map((r) => ({ ...r, value: rewrite(r.value) })),
    outputs: kernel.outputs.map((o) => ({ ...o, value: rewrite(o.value) })),
  };
}

const shifted = ({ offset, coefficients }: Affine, by: number): Affine => ({ offset: offset - by, coefficients });

/** The kernel without conditions that hold, or never do, in the whole box. */
function decided(kernel: LoopKernel, box: Box): LoopKernel {
  return mapNodes(kernel, (node, rewrite) => {
    if (node.op !== "guard") return undefined;
    const conditions: Range[] = [];
    for (const { index, lo, hi } of node.conditions) {
      const [low, high] = rangeOf(index, box);
      if (high < lo || low >= hi) return { op: "constant", dtype: node.dtype, value: node.fill };
      // counted from its lower end, an index that matters is small even where the tensor is large
      if (low < lo || high >= hi) conditions.push({ index: shifted(index, lo), lo: 0, hi: hi - lo });
    }
    const value = rewrite(node.value);
    return conditions.length === 0 ? value : { ...node, conditions, value };
  });
}

/** The kernel with its loads counted from where their inputs' spans start. */
function relativeTo(kernel: LoopKernel, spans: ReadonlyMap<number, Span>): LoopKernel {
  return mapNodes(kernel, (node, rewrite) =>
    node.op === "load"
      ? {
          ...node,
          index: shifted(node.index, spans.get(node.input)!.from),
          ...(node.gather && { gather: node.gather.map((g) => ({ ...g, value: rewrite(g.value) })) }),
        }
      : undefined,
  );
}
