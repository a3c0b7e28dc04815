/**
 * The function of one phase: loops over the units of work, and inside them along vectors, around the values.
 *
 *     for each row of units [begin, end)            rows: all output axes but the vector axis, then its blocks
 *       for each segment of the block               a segment: where the guards' conditions do not change
 *         for each 4 vectors, then each vector      map and across
 *
 * A tiled map, for transposing loads, has a loop over neighbouring rows innermost.
 * across has the loops over reduced axes innermost, with accumulators in registers; along has them around
 * the segments, where the vector axis is one of them. A row kernel has these loops once for every stage, and keeps
 * costly values of a row's points in the thread's scratch from stage to stage. Addresses and indices are kept in cursors, locals that
 * are computed at `begin` and then stepped from row to row.
 */
import type { Affine, LoopKernel, Output, Range, Reduction, Scalar } from "../../../ir/loop.js";
import {
  block,
  brIf,
  f32x4,
  functionBuilder,
  i32,
  i32x4,
  loop,
  select,
  v128,
  when,
  whileLoop,
  type Code,
  type Local,
  type WasmFunction,
} from "../wasm/emitter.js";
import type { LoopPlan } from "./plan.js";
import { identity, nodesOf, product, roots } from "../../../ir/simplify.js";
import { intrinsics } from "../../../ops/elementwise-rows.js";
import { rowStages, stageValues, type RowStage } from "../../../ir/row-stages.js";
import {
  acrossLanes,
  constantVector,
  fillBeyond,
  floorDivide,
  scope,
  valueEmitter,
  type Frame,
  type Scope,
} from "./values.js";
import { scratch, type Vectors } from "../wasm/vector-math.js";

/** A buffer: its position among the function's arguments, and bytes to add to that address. */
export interface Binding {
  readonly position: number;
  readonly offset: number;
}

export interface PhaseDescription {
  readonly name: string;
  readonly kernel: LoopKernel;
  readonly plan: LoopPlan;
  readonly inputs: readonly Binding[];
  readonly outputs: readonly Binding[];
}

/** Vectors side by side that hide each other's latencies. */
const UNROLL = 4;
/** Terms a float32 accumulator takes before it is added to a total, so that rounding errors do not pile up. */
const TERMS = 256;

/** A local that follows scale * index, plus an address. */
interface Cursor {
  readonly local: Local;
  readonly start: Code;
  readonly coefficients: readonly number[];
}

/** An axis of units: steps along `axis` by `factor`. */
interface RowAxis {
  readonly extent: number;
  readonly axis: number;
  readonly factor: number;
  readonly count: Local;
}

/** Bytes a thread keeps of a row, above which values are computed again instead: they would leave the cache. */
const MOST_KEPT = 256 * 1024;
/** Operations from which on a value is rather kept than computed again. */
const COSTLY = 8;
/** Bytes of a kept value, for all points of a row (of `side` rows), and a vector that is not full. */
const keptSize = (kernel: LoopKernel, side: number): number => 4 * side * product(kernel.reduceExtents) + 16;

function stagesFor(kernel: LoopKernel): readonly RowStage[] {
  const cost = (node: Scalar): number =>
    [...nodesOf([node])].reduce(
      (sum, each) => sum + ("args" in each && intrinsics[each.op].cost === "dear" ? COSTLY : 1),
      0,
    );
  const keeping = rowStages(kernel, (node) => cost(node) > COSTLY);
  const fits = keeping.flatMap((stage) => stage.keeps).length * keptSize(kernel, 4 * UNROLL) <= MOST_KEPT;
  return fits ? keeping : rowStages(kernel, () => false);
}

/** Bytes of scratch that a phase needs. */
export function keptBytes(kernel: LoopKernel, plan: LoopPlan): number {
  if (plan.kind === "map") return 0;
  return (
    stagesFor(kernel).flatMap((stage) => stage.keeps).length * keptSize(kernel, plan.kind === "across" ? 4 * UNROLL : 1)
  );
}

export function renderPhase({ name, kernel, plan, inputs, outputs }: PhaseDescription): WasmFunction {
  const { extents, reduceExtents } = kernel;
  const all = [...extents, ...reduceExtents];
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, begin, end, kept] = f.params;
  const s = scratch(f.local);
  const axis = plan.axis;
  const tiled = plan.tile;
  const tileRows = f.local("i32");
  const reduceAxes = reduceExtents.map((_, k) => extents.length + k).filter((k) => k !== axis);

  // ---- cursors ----

  const bases = new Map<number, Local>();
  const baseOf = (binding: Binding): Local => {
    const local = bases.get(binding.position) ?? f.local("i32");
    bases.set(binding.position, local);
    return local;
  };
  const withOffset = (binding: Binding, bytes: number): Code =>
    binding.offset + bytes === 0
      ? baseOf(binding).get
      : i32.add(baseOf(binding).get, i32.const(binding.offset + bytes));
  const cursors = new Map<string, Cursor>();
  const cursor = (key: string, index: Affine, scale: number, start: () => Code): Code => {
    const coefficients = index.coefficients.map((c) => c * scale);
    const full = `${key}|${index.offset}|${coefficients.join()}`;
    let known = cursors.get(full);
    if (known === undefined) {
      known = { local: f.local("i32"), start: start(), coefficients };
      cursors.set(full, known);
    }
    return known.local.get;
  };
  const pointer = (input: number, index: Affine): Code => {
    const binding = inputs[input] as Binding;
    return cursor(`input${input}`, index, 4, () => withOffset(binding, 4 * index.offset));
  };
  const value = (index: Affine): Code =>
    index.coefficients.every((c) => c === 0)
      ? i32.const(index.offset)
      : cursor("value", index, 1, () => i32.const(index.offset));
  const rowMajor = [...extents.map((_, k) => product(extents.slice(k + 1))), ...reduceExtents.map(() => 0)];
  const stridesOf = (output: number): readonly number[] => kernel.outputs[output]?.index?.coefficients ?? rowMajor;
  const outputPointer = (output: number): Code =>
    cursor(`output${output}`, { offset: 0, coefficients: stridesOf(output) }, 4, () =>
      withOffset(outputs[output] as Binding, 4 * (kernel.outputs[output]?.index?.offset ?? 0)),
    );

  // ---- stages, and the values kept between them ----

  const stages = plan.kind === "map" ? [] : stagesFor(kernel);
  const keptNodes = stages.flatMap((stage) => stage.keeps);
  /** Points that a place in the scratch has room for: along the row, or the neighbouring rows taken together. */
  const side = plan.kind === "across" ? 4 * UNROLL : 1;
  /** Points of a row one after another, along the vector axis first where it is one of the row's. */
  const keptStrides = all.map((_, k) => {
    const inner = k === axis ? [] : reduceAxes.filter((other) => other > k).map((other) => all[other] as number);
    return k < extents.length
      ? 0
      : side * product(inner) * (k !== axis && plan.kind === "along" ? (all[axis] as number) : 1);
  });
  const keptAddress = (node: Scalar, frame: Frame): Local => {
    const address = f.local("i32"),
      number = keptNodes.indexOf(node);
    const row = cursor(`kept${number}`, { offset: 0, coefficients: keptStrides }, 4, () =>
      i32.add(kept.get, i32.const(number * keptSize(kernel, side))),
    );
    s.body.push(address.set(plan.kind === "across" ? row : i32.add(row, frame.bytes.get)));
    return address;
  };

  // ---- accumulators ----

  /** Reductions of the stage being written. */
  let active: readonly number[] = [];
  const activeReductions = (): [Reduction, number][] => active.map((n) => [kernel.reductions[n] as Reduction, n]);

  const accumulators: Local[][] = kernel.reductions.map(() => []);
  const reducedValues: Vectors[] = [];
  /** Terms that one run along the vector axis adds to an accumulator. */
  const runTerms = plan.kind === "along" ? vectorsInRun(all[axis] as number) : 1;
  const terms = runTerms * product(reduceAxes.map((k) => all[k] as number));
  /** Long float32 sums are kept in two levels. */
  const twoLevels = terms > 2 * TERMS && kernel.reductions.some((r) => r.combine === "sum" && r.value.dtype === "f32");
  const totals: Local[][] = kernel.reductions.map(() => []);
  const isLong = (r: Reduction): boolean => twoLevels && r.combine === "sum" && r.value.dtype === "f32";
  const pending = f.local("i32");
  /** A float32 maximum takes one instruction that forgets NaNs, and marks them aside. */
  const nans: Local[][] = kernel.reductions.map(() => []);
  const marksNaN = (r: Reduction): boolean => r.combine === "max" && r.value.dtype === "f32";

  const combine = (r: Reduction): ((a: Code, b: Code) => Code) => {
    if (r.combine === "sum") return r.value.dtype === "f32" ? f32x4.add : i32x4.add;
    return r.value.dtype === "f32" ? f32x4.max : i32x4.maxS;
  };
  const identityVector = (r: Reduction): Code => constantVector({ dtype: r.value.dtype, value: identity(r) });
  const locals = (list: Local[], count: number): Local[] => {
    while (list.length < count) list.push(f.local("v128"));
    return list.slice(0, count);
  };
  const startAccumulators = (count: number): void => {
    activeReductions().forEach(([r, n]) => {
      for (const local of locals(accumulators[n] as Local[], count)) s.body.push(local.set(identityVector(r)));
      if (isLong(r)) for (const local of locals(totals[n] as Local[], count)) s.body.push(local.set(f32x4.const(0)));
      if (marksNaN(r)) for (const local of locals(nans[n] as Local[], count)) s.body.push(local.set(f32x4.const(0)));
    });
    if (twoLevels) s.body.push(pending.set(i32.const(0)));
  };
  const flush = (count: number): Code[] => [
    pending.set(i32.const(0)),
    ...activeReductions().flatMap(([r, n]) =>
      !isLong(r)
        ? []
        : range(count).flatMap((k) => {
            const total = (totals[n] as Local[])[k] as Local,
              sum = (accumulators[n] as Local[])[k] as Local;
            return [total.set(f32x4.add(total.get, sum.get)), sum.set(f32x4.const(0))];
          }),
    ),
  ];
  /** To be told after `added` terms went into each accumulator. */
  const flushWhenDue = (count: number, added: Code): void => {
    if (twoLevels && active.length > 0)
      s.body.push(pending.set(i32.add(pending.get, added)), when(i32.geS(pending.get, i32.const(TERMS)), flush(count)));
  };
  const endAccumulators = (count: number): void => {
    if (twoLevels) s.body.push(flush(count));
    activeReductions().forEach(([r, n]) => {
      // A mask of NaNs is itself NaN.
      if (marksNaN(r))
        range(count).forEach((k) => {
          const most = (accumulators[n] as Local[])[k] as Local;
          s.body.push(most.set(v128.or(most.get, ((nans[n] as Local[])[k] as Local).get)));
        });
      if (isLong(r))
        range(count).forEach((k) =>
          s.body.push(((accumulators[n] as Local[])[k] as Local).set(((totals[n] as Local[])[k] as Local).get)),
        );
    });
  };
  const accumulate = (count: number, frame: Frame, at: Scope): void => {
    const values = activeReductions().map(([r]) => emit.evaluate(r.value, frame, at));
    activeReductions().forEach(([r, n], place) => {
      range(count).forEach((k) => {
        const sum = (accumulators[n] as Local[])[k] as Local;
        const own = values[place] as Vectors;
        const value = (own.length === 1 ? own[0] : own[k]) as Code;
        const term = plan.kind === "along" ? fillBeyond(value, frame, identityVector(r)) : value;
        if (marksNaN(r)) {
          const nan = (nans[n] as Local[])[k] as Local,
            kept = f.local("v128");
          s.body.push(
            kept.set(term),
            nan.set(v128.or(nan.get, f32x4.ne(kept.get, kept.get))),
            sum.set(f32x4.pmax(kept.get, sum.get)),
          );
        } else s.body.push(sum.set(combine(r)(sum.get, term)));
      });
    });
  };

  // ---- the vector loop: segments, then 4 vectors at a time, then single ones ----

  const i = f.local("i32"),
    bytes = f.local("i32"),
    segmentEnd = f.local("i32"),
    limit = f.local("i32"),
    length = f.local("i32");
  const flags = new Map<string, Local>();
  const conditionKey = (c: Range): string => `${c.lo},${c.hi},${c.index.offset}|${c.index.coefficients.join()}`;

  const emit = valueEmitter({
    kernel,
    s,
    vectorAxis: axis,
    pointer,
    value,
    innerAxes: new Set(plan.kind === "across" ? reduceAxes : tiled !== undefined ? [tiled.axis] : []),
    inputBase: (input) => withOffset(inputs[input] as Binding, 0),
    segmentFlag: (c) => (flags.get(conditionKey(c)) as Local).get,
    reduced: (n) => reducedValues[n] as Vectors,
  });
  const segmentConditions = new Map<string, Range>();
  for (const node of nodesOf(roots(kernel)))
    if (node.op === "guard")
      for (const c of node.conditions)
        if (emit.conditionKind(c) === "segment") segmentConditions.set(conditionKey(c), c);
  for (const key of segmentConditions.keys()) flags.set(key, f.local("i32"));

  /** Where the condition begins and ceases to hold along the vector axis, ends the segment; `flag`: it holds at i. */
  const cutSegment = (c: Range, flag: Local): void => {
    const step = c.index.coefficients[axis] as number;
    const from = f.local("i32"),
      to = f.local("i32"),
      t = f.local("i32");
    const at = value(c.index);
    const d = Math.abs(step);
    if (step > 0) {
      // at + d i >= lo from i = ceil((lo - at) / d) on.
      s.body.push(
        t.set(i32.sub(i32.const(c.lo + d - 1), at)),
        from.set(floorDivide(t, d)),
        t.set(i32.sub(i32.const(c.hi + d - 1), at)),
        to.set(floorDivide(t, d)),
      );
    } else {
      // at - d i < hi from i = floor((at - hi) / d) + 1 on.
      s.body.push(
        t.set(i32.sub(at, i32.const(c.hi - d))),
        from.set(floorDivide(t, d)),
        t.set(i32.sub(at, i32.const(c.lo - d))),
        to.set(floorDivide(t, d)),
      );
    }
    for (const edge of [from, to])
      s.body.push(when(i32.and(i32.gtS(edge.get, i.get), i32.ltS(edge.get, segmentEnd.get)), segmentEnd.set(edge.get)));
    s.body.push(flag.set(i32.and(i32.leS(from.get, i.get), i32.ltS(i.get, to.get))));
  };

  /** No length is more than `longest`, and each is a multiple of `whole`. */
  const vectorLoop = (
    longest: number,
    whole: number,
    ahead: () => Scope,
    body: (count: number, frame: Frame, before: Scope) => void,
  ): void => {
    const segmented = segmentConditions.size > 0;
    const outside = s.body;
    const segment: Code[] = (s.body = []);
    s.body.push(segmentEnd.set(length.get));
    for (const [key, c] of segmentConditions) cutSegment(c, flags.get(key) as Local);
    const before = ahead();
    const run = (unroll: number): void => {
      const points = 4 * unroll;
      const statements: Code[] = (s.body = []);
      s.body.push(bytes.set(i32.shl(i.get, i32.const(2))));
      body(unroll, unroll === 1 ? { unroll, i, bytes, end: segmentEnd } : { unroll, i, bytes }, before);
      segment.push(limit.set(i32.sub(segmentEnd.get, i32.const(unroll === 1 ? 0 : points - 1))));
      segment.push(whileLoop(i32.ltS(i.get, limit.get), [statements, i.set(i32.add(i.get, i32.const(points)))]));
    };
    // In a tile it is the rows that hide latencies, and more points would need more cache lines at once.
    const wide = longest >= 4 * UNROLL && tiled === undefined;
    if (wide) run(UNROLL);
    if (!wide || segmented || whole % (4 * UNROLL) !== 0) run(1);
    s.body = outside;
    s.body.push(i.set(i32.const(0)));
    s.body.push(segmented ? whileLoop(i32.ltS(i.get, length.get), [segment, i.set(segmentEnd.get)]) : segment);
  };

  // ---- stores ----

  const store = (output: number, values: Vectors, frame: Frame): void => {
    const { dtype } = kernel.outputs[output] as { dtype: string };
    const stride = axis < 0 ? 0 : (stridesOf(output)[axis] as number);
    const target = outputPointer(output);
    const inMemory = (code: Code): Code => (dtype === "bool" ? v128.and(code, i32x4.const(1)) : code);
    const address = f.local("i32"),
      vector = f.local("v128"),
      rest = f.local("i32");
    if (stride === 0) {
      s.body.push(v128.store32Lane(target, inMemory(values[0] as Code), 0));
      return;
    }
    s.body.push(
      address.set(i32.add(target, stride === 1 ? frame.bytes.get : i32.mul(frame.bytes.get, i32.const(stride)))),
    );
    if (frame.end !== undefined) s.body.push(rest.set(i32.sub(frame.end.get, frame.i.get)));
    for (const k of range(frame.unroll)) {
      const code = inMemory((values.length === 1 ? values[0] : values[k]) as Code);
      if (stride !== 1) {
        s.body.push(vector.set(code));
        for (const lane of range(4)) {
          const one = v128.store32Lane(address.get, vector.get, lane, 4 * stride * (4 * k + lane));
          s.body.push(frame.end === undefined || lane === 0 ? one : when(i32.gtS(rest.get, i32.const(lane)), one));
        }
      } else if (frame.end === undefined) s.body.push(v128.store(address.get, code, 16 * k));
      else
        s.body.push(
          vector.set(code),
          when(i32.geS(rest.get, i32.const(4)), v128.store(address.get, vector.get), storeSome(address, vector, rest)),
        );
    }
  };
  const storeSome = (address: Local, vector: Local, rest: Local): Code =>
    when(
      i32.geS(rest.get, i32.const(2)),
      [
        v128.store64Lane(address.get, vector.get, 0),
        when(i32.eq(rest.get, i32.const(3)), v128.store32Lane(address.get, vector.get, 2, 8)),
      ],
      v128.store32Lane(address.get, vector.get, 0),
    );
  const storeOutputs = (
    frame: Frame,
    at: Scope,
    which: readonly number[] = kernel.outputs.flatMap((o, n) => (o.index ? [] : [n])),
  ): void => {
    const values = which.map((n) => emit.evaluate((kernel.outputs[n] as Output).value, frame, at));
    values.forEach((v, k) => store(which[k] as number, v, frame));
  };
  /** A stage at the points of a frame. */
  const stagePoints = (stage: RowStage, count: number, frame: Frame, before: Scope): void => {
    const at = scope(undefined, before);
    for (const node of stage.uses) {
      const address = keptAddress(node, frame);
      at.values.set(
        node,
        range(count).map((k) => {
          const vector = f.local("v128");
          s.body.push(vector.set(v128.load(address.get, 16 * k)));
          return vector.get;
        }),
      );
    }
    accumulate(count, frame, at);
    for (const node of stage.keeps) {
      const values = emit.evaluate(node, frame, at);
      const address = keptAddress(node, frame);
      range(count).forEach((k) =>
        s.body.push(v128.store(address.get, (values.length === 1 ? values[0] : values[k]) as Code, 16 * k)),
      );
    }
    storeOutputs(frame, at, stage.outputs);
  };

  // ---- loops over reduced axes, which move cursors and move them back ----

  const moves: { readonly axis: number; readonly forward: Code[]; readonly back: Code[] }[] = [];
  const reduceLoops = (axes: readonly number[], body: () => void): void => {
    const [first, ...rest] = axes;
    if (first === undefined) return body();
    const count = f.local("i32");
    const extent = first === tiled?.axis ? tileRows.get : i32.const(all[first] as number);
    const move = { axis: first, forward: [] as Code[], back: [] as Code[] };
    moves.push(move);
    const outside = s.body;
    const inside: Code[] = (s.body = []);
    reduceLoops(rest, body);
    s.body = outside;
    s.body.push(
      count.set(extent),
      loop([inside, move.forward, brIf(0, count.tee(i32.sub(count.get, i32.const(1))))]),
      move.back,
    );
  };

  // ---- a row of each kind ----

  const map = (whole: number): void => {
    const vectorAxes = new Set([axis]);
    if (tiled !== undefined) vectorAxes.add(tiled.axis);
    vectorLoop(
      plan.block,
      whole,
      () => {
        const before = scope();
        const frame = { unroll: 1, i, bytes };
        for (const { value } of kernel.outputs) emit.hoist(value, vectorAxes, frame, before);
        return before;
      },
      (_, frame, before) => {
        if (tiled === undefined) return storeOutputs(frame, scope(undefined, before));
        reduceLoops([tiled.axis], () => storeOutputs(frame, scope(undefined, before)));
      },
    );
  };

  const across = (whole: number): void => {
    const axes = new Set(reduceAxes);
    vectorLoop(
      plan.block,
      whole,
      () => scope(),
      (count, frame) => {
        for (const stage of stages) {
          active = stage.reductions;
          startAccumulators(count);
          const before = scope();
          for (const root of stageValues(kernel, stage)) emit.hoist(root, axes, frame, before);
          reduceLoops(reduceAxes, () => {
            stagePoints(stage, count, frame, before);
            flushWhenDue(count, i32.const(1));
          });
          endAccumulators(count);
          for (const n of active)
            reducedValues[n] = locals(accumulators[n] as Local[], count).map((local) => local.get);
        }
        // Not from `before`: it may lie under other conditions.
        storeOutputs(frame, scope());
      },
    );
  };

  const along = (): void => {
    for (const stage of stages) alongStage(stage);
    storeOutputs({ unroll: 1, i, bytes }, scope());
  };
  const alongStage = (stage: RowStage): void => {
    active = stage.reductions;
    const extent = all[axis] as number;
    const vectorAxes = new Set([axis]);
    startAccumulators(UNROLL);
    // A long row is summed in blocks of as many terms as an accumulator takes.
    const most = twoLevels && active.length > 0 ? Math.min(extent, 4 * UNROLL * TERMS) : extent;
    const blocks = Math.ceil(extent / most);
    const run = (): void => {
      vectorLoop(
        most,
        blocks > 1 ? commonDivisor(most, extent) : extent,
        () => {
          const before = scope();
          const frame = { unroll: 1, i, bytes };
          for (const root of stageValues(kernel, stage)) emit.hoist(root, vectorAxes, frame, before);
          return before;
        },
        (count, frame, before) => stagePoints(stage, count, frame, before),
      );
    };
    reduceLoops(reduceAxes, () => {
      if (blocks === 1) {
        s.body.push(length.set(i32.const(extent)));
        run();
        flushWhenDue(UNROLL, i32.const(runTerms));
        return;
      }
      // The vector axis moves on by a block at a time, like a reduced axis of its own.
      const done = f.local("i32");
      const move = { axis, forward: [] as Code[], back: [] as Code[] };
      blockMoves.push({ ...move, step: most, blocks });
      const outside = s.body;
      const inside: Code[] = (s.body = []);
      const left = i32.sub(i32.const(extent), done.get);
      s.body.push(length.set(select(left, i32.const(most), i32.ltS(left, i32.const(most)))));
      run();
      flushWhenDue(UNROLL, i32.const(TERMS));
      s.body = outside;
      s.body.push(
        done.set(i32.const(0)),
        loop([inside, move.forward, brIf(0, i32.ltS(done.tee(i32.add(done.get, i32.const(most))), i32.const(extent)))]),
        move.back,
      );
    });
    endAccumulators(UNROLL);
    for (const [r, n] of activeReductions()) {
      const [a, b, c, d] = accumulators[n] as [Local, Local, Local, Local];
      const op = combine(r);
      s.body.push(a.set(op(op(a.get, b.get), op(c.get, d.get))), acrossLanes(op, a));
      reducedValues[n] = [a.get];
    }
  };
  const blockMoves: {
    readonly axis: number;
    readonly forward: Code[];
    readonly back: Code[];
    readonly step: number;
    readonly blocks: number;
  }[] = [];

  // ---- rows ----

  const rows: RowAxis[] = extents.flatMap((extent, k) =>
    k === axis || k === tiled?.axis ? [] : [{ extent, axis: k, factor: 1, count: f.local("i32") }],
  );
  const cut = axis >= 0 && plan.kind !== "along" ? (extents[axis] as number) : 1;
  const blocked = cut > plan.block && plan.kind !== "along";
  if (blocked) rows.push({ extent: Math.ceil(cut / plan.block), axis, factor: plan.block, count: f.local("i32") });
  const blockCount = rows.at(-1)?.count;
  if (tiled !== undefined) {
    const extent = extents[tiled.axis] as number,
      count = f.local("i32");
    rows.push({ extent: Math.ceil(extent / tiled.rows), axis: tiled.axis, factor: tiled.rows, count });
    const left = i32.sub(i32.const(extent), i32.mul(count.get, i32.const(tiled.rows)));
    s.body.push(tileRows.set(select(left, i32.const(tiled.rows), i32.ltS(left, i32.const(tiled.rows)))));
  }

  if (plan.kind === "along") along();
  else {
    if (blocked && cut % plan.block !== 0 && blockCount !== undefined) {
      const left = i32.sub(i32.const(cut), i32.mul(blockCount.get, i32.const(plan.block)));
      s.body.push(length.set(select(left, i32.const(plan.block), i32.ltS(left, i32.const(plan.block)))));
    } else s.body.push(length.set(i32.const(plan.block)));
    const whole = commonDivisor(cut, plan.block);
    if (plan.kind === "map") map(whole);
    else across(whole);
  }
  const row = s.body;

  // Now that all cursors are known: their start, and their steps.
  const stepBy = (distance: (coefficients: readonly number[]) => number): Code[] =>
    [...cursors.values()].flatMap(({ local, coefficients }) => {
      const bytes = distance(coefficients);
      return bytes === 0 ? [] : [local.set(i32.add(local.get, i32.const(bytes)))];
    });
  const stepAlong = (c: readonly number[], k: number): number => c[k] as number;
  for (const move of moves) {
    move.forward.push(stepBy((c) => stepAlong(c, move.axis)));
    if (move.axis !== tiled?.axis) move.back.push(stepBy((c) => -(all[move.axis] as number) * stepAlong(c, move.axis)));
    else
      for (const { local, coefficients } of cursors.values()) {
        const c = stepAlong(coefficients, move.axis);
        if (c !== 0) move.back.push(local.set(i32.sub(local.get, i32.mul(tileRows.get, i32.const(c)))));
      }
  }
  for (const move of blockMoves) {
    move.forward.push(stepBy((c) => move.step * stepAlong(c, move.axis)));
    move.back.push(stepBy((c) => -move.step * move.blocks * stepAlong(c, move.axis)));
  }
  const rest = f.local("i32");
  const start: Code[] = [
    ...[...bases].map(([position, local]) => local.set(i32.load(args.get, 4 * position))),
    rest.set(begin.get),
    ...[...rows]
      .reverse()
      .map(({ extent, count }, k) =>
        k === rows.length - 1
          ? count.set(rest.get)
          : [count.set(i32.remU(rest.get, i32.const(extent))), rest.set(i32.divU(rest.get, i32.const(extent)))],
      ),
    ...[...cursors.values()].map(({ local, start, coefficients }) =>
      local.set(
        rows
          .map(({ axis, factor, count }) => ({ c: stepAlong(coefficients, axis) * factor, count }))
          .reduce((sum: Code, { c, count }) => (c === 0 ? sum : i32.add(sum, i32.mul(count.get, i32.const(c)))), start),
      ),
    ),
  ];
  /** From one row to the next, like an odometer. */
  const advance = (k: number, wrapped: RowAxis | undefined): Code => {
    const own = rows[k];
    if (own === undefined) return [];
    const steps = stepBy(
      (c) =>
        stepAlong(c, own.axis) * own.factor -
        (wrapped === undefined ? 0 : stepAlong(c, wrapped.axis) * wrapped.factor * wrapped.extent),
    );
    return [
      own.count.set(i32.add(own.count.get, i32.const(1))),
      ...steps,
      k === 0
        ? []
        : when(i32.eq(own.count.get, i32.const(own.extent)), [own.count.set(i32.const(0)), advance(k - 1, own)]),
    ];
  };
  return f.finish(
    name,
    block([
      brIf(0, i32.geS(begin.get, end.get)),
      start,
      loop([
        row,
        begin.set(i32.add(begin.get, i32.const(1))),
        brIf(1, i32.geS(begin.get, end.get)),
        advance(rows.length - 1, undefined),
        [0x0c, 0],
      ]),
    ]),
  );
}

const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

/** Vectors that fall to the first accumulator, which takes the single ones as well. */
const vectorsInRun = (points: number): number =>
  Math.floor(points / (4 * UNROLL)) + Math.ceil((points % (4 * UNROLL)) / 4);

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));
