/**
 * The forward program. A unit is a batch element and up to four groups of channels; it goes through the chunks in
 * order and leaves the states at their starts for the backward program.
 */
import type { KernelCase } from "@seqmix/tensor";
import {
  buildModule,
  call,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  memory as bulk,
  v128,
  when,
  type Code,
  type CpuProgram,
  type Local,
  type WasmFunction,
} from "@seqmix/tensor/wasm";
import {
  BIAS,
  CONSTANTS,
  constantsFunction,
  gatherFunction,
  lanesOf,
  masked,
  scatterFunction,
  SKIP,
  storeChannels,
} from "./cpu-gather.js";
import {
  advance,
  flushed,
  keepingOf,
  LANES,
  layoutOf,
  plus,
  smaller,
  STAGED_GROUPS,
  times,
  unitsPerBatch,
  type CpuScanOptions,
  type ScanLayout,
} from "./cpu-layout.js";
import { exp2, sigmoid, softplus } from "./cpu-math.js";
import { eachRecord } from "./cpu-records.js";

const { add, mul } = f32x4;
const VECTOR = 4 * LANES;
/** Record of a position and group: delta (after bias and softplus), delta u, and y without its gate. */
const DELTA = 0,
  DRIVE = VECTOR,
  Y = 2 * VECTOR,
  RECORD = 3 * VECTOR;
/** States that run through a chunk together. */
const STATES = 4;
/** Updates of a state that are worth a claim. */
const UPDATES_PER_CLAIM = 8192;

/** y, hT and the states at the chunks' starts. */
export function forwardProgram(kase: KernelCase<CpuScanOptions>, memory: { readonly shared: boolean }): CpuProgram {
  const layout = layoutOf(kase, ["y", "hT", "states"]);
  const { batch, length, channels, states: N, steps, groups } = layout;
  const unitGroups = Math.ceil(groups / unitsPerBatch(layout, STAGED_GROUPS));
  const units = batch * Math.ceil(groups / unitGroups);
  const functions: WasmFunction[] = [];
  const add = (f: WasmFunction): number => functions.push(f) - 1;
  const parts: Parts = {
    constants: add(constantsFunction(layout)),
    gatherA: add(gatherFunction("gatherA", N, Math.LOG2E)),
    gatherState: add(gatherFunction("gatherState", N, 1)),
    scatterState: add(scatterFunction("scatterState", N)),
    stage: add(stageFunction(layout)),
    scan: add(scanFunction("scan", STATES, layout)),
    scanRest: add(scanFunction("scanRest", N % STATES, layout)),
    finish: add(finishFunction(layout)),
  };
  add(unitFunction(layout, unitGroups, parts));
  return {
    name: `selective scan [${batch},${length},${channels},${N}]`,
    module: buildModule({ memory, functions }),
    phases: [
      { run: "forward", units, grain: Math.max(1, Math.floor(UPDATES_PER_CLAIM / (length * unitGroups * LANES * N))) },
    ],
    scratchBytes: unitGroups * scratchPerGroup(N, steps),
    sharedBytes: 0,
  };
}

const scratchPerGroup = (N: number, steps: number): number => CONSTANTS + 2 * N * VECTOR + steps * RECORD;

/** (records, constants, u, delta, count, groups): fills the records of a chunk. */
function stageFunction(layout: ScanLayout): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32"]);
  const [records, constants, u, delta, count, groups] = f.params;
  const [x, input] = [f.local("v128"), f.local("v128")] as const;
  const present = (name: string): boolean => layout.argument(name) !== undefined;
  return f.finish(
    "stage",
    eachRecord(
      f,
      { layout, count, groups, records, constants, rows: [u, delta], recordBytes: RECORD },
      ({ record, constant, at }) => [
        x.set(v128.load(i32.add(delta.get, at))),
        present("deltaBias") ? x.set(add(x.get, v128.load(constant.get, BIAS))) : [],
        x.set(masked(x.get, constant, layout)),
        layout.softplus ? softplus(f.local, x) : [],
        input.set(masked(v128.load(i32.add(u.get, at)), constant, layout)),
        v128.store(record.get, x.get, DELTA),
        v128.store(record.get, mul(x.get, input.get), DRIVE),
        v128.store(record.get, present("D") ? mul(input.get, v128.load(constant.get, SKIP)) : f32x4.const(0), Y),
      ],
    ),
  );
}

/** (records, constants, y, z, count, groups): the outputs of a chunk. */
function finishFunction(layout: ScanLayout): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32"]);
  const [records, constants, y, z, count, groups] = f.params;
  const [value, gate, slope] = [f.local("v128"), f.local("v128"), f.local("v128")] as const;
  return f.finish(
    "finish",
    eachRecord(
      f,
      { layout, count, groups, records, constants, rows: [y, z], recordBytes: RECORD },
      ({ record, constant, at }) => [
        value.set(v128.load(record.get, Y)),
        layout.argument("z") === undefined
          ? []
          : [
              gate.set(v128.load(i32.add(z.get, at))),
              sigmoid(f.local, gate.get, slope),
              value.set(mul(value.get, mul(gate.get, slope.get))),
            ],
        storeChannels(i32.add(y.get, at), value, constant, layout),
      ],
    ),
  );
}

/** (records, B, C, A, from, to, resets, count): some states of one group through a chunk, from the state at `from` to that at `to`. */
function scanFunction(name: string, states: number, layout: ScanLayout): WasmFunction {
  const N = layout.states;
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"]);
  const [record, B, C, A, from, to, resets, count] = f.params;
  const keeping = keepingOf(layout, f.local, resets);
  const vectors = (): readonly Local[] => Array.from({ length: states }, () => f.local("v128"));
  const [h, a] = [vectors(), vectors()];
  const [delta, drive, y, decay] = [f.local("v128"), f.local("v128"), f.local("v128"), f.local("v128")] as const;
  const temporaries = [f.local("v128"), f.local("v128"), f.local("v128")] as const;
  const t = f.local("i32");
  return f.finish(name, [
    h.map((h, n) => h.set(v128.load(from.get, VECTOR * n))),
    a.map((a, n) => a.set(v128.load(A.get, VECTOR * n))),
    forLoop(t, count, 1, [
      delta.set(v128.load(record.get, DELTA)),
      drive.set(v128.load(record.get, DRIVE)),
      y.set(v128.load(record.get, Y)),
      keeping.read,
      h.map((h, n) => [
        exp2(decay, mul(delta.get, a[n]!.get), temporaries),
        h.set(add(keeping.kept(mul(decay.get, h.get)), mul(drive.get, v128.load32Splat(B.get, 4 * n)))),
        y.set(add(y.get, mul(h.get, v128.load32Splat(C.get, 4 * n)))),
      ]),
      v128.store(record.get, y.get, Y),
      advance(record, RECORD),
      advance(B, 4 * N),
      advance(C, 4 * N),
      keeping.move(1),
    ]),
    h.map((h, n) => v128.store(to.get, flushed(h), VECTOR * n)),
  ]);
}

/** Positions of a program's functions in its module. */
type Parts = Readonly<
  Record<"constants" | "gatherA" | "gatherState" | "scatterState" | "stage" | "scan" | "scanRest" | "finish", number>
>;

/** The phase: all chunks of each unit. */
function unitFunction(layout: ScanLayout, unitGroups: number, parts: Parts): WasmFunction {
  const { length, channels, states: N, steps, chunks, groups, lastLanes, argument } = layout;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, unit, unitEnd, constants] = f.params;
  const local = (): Local => f.local("i32");
  const [batch, group, count, g, n, chunk, first, positions, kept, to, row, record, A] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const [decays, last, records] = [local(), local(), local()] as const;
  const unitsPerElement = Math.ceil(groups / unitGroups);
  const stateBytes = N * VECTOR;
  const initial = argument("h0");
  /** Address of an argument's element (0 if there is no such argument). */
  const address = (name: string, element: Code): Code =>
    argument(name) === undefined ? i32.const(0) : plus(i32.load(args.get, argument(name)!), times(element, 4));
  const lanes = lanesOf(i32.add(group.get, g.get), groups, lastLanes);
  /** Of [B D N]. */
  const stateElement = times(plus(times(batch.get, channels), times(i32.add(group.get, g.get), LANES)), N);
  /** Of [B L D] and of [B L N], at the chunk's first position. */
  const rowElement = plus(times(row.get, channels), times(group.get, LANES));
  const mapElement = plus(times(row.get, N), n.get);
  const nthState = (base: Code): Code => plus(base, times(n.get, VECTOR));
  const scan = (position: number): Code =>
    call(
      position,
      record.get,
      address("B", mapElement),
      address("C", mapElement),
      nthState(A.get),
      nthState(kept.get),
      nthState(to.get),
      address("resets", row.get),
      positions.get,
    );
  const fullStates = N - (N % STATES);
  return f.finish("forward", [
    decays.set(plus(constants.get, unitGroups * CONSTANTS)),
    last.set(plus(decays.get, unitGroups * stateBytes)),
    records.set(plus(last.get, unitGroups * stateBytes)),
    forLoop(unit, unitEnd, 1, [
      batch.set(i32.divU(unit.get, i32.const(unitsPerElement))),
      group.set(times(i32.remU(unit.get, i32.const(unitsPerElement)), unitGroups)),
      count.set(smaller(i32.const(unitGroups), i32.sub(i32.const(groups), group.get))),
      call(parts.constants, args.get, constants.get, group.get, count.get),
      // The states at the start of the first chunk.
      kept.set(address("states", times(plus(times(batch.get, chunks * groups), group.get), N * LANES))),
      g.set(i32.const(0)),
      forLoop(g, count, 1, [
        call(
          parts.gatherA,
          plus(decays.get, times(g.get, stateBytes)),
          address("A", times(i32.add(group.get, g.get), LANES * N)),
          lanes,
        ),
        initial === undefined
          ? bulk.fill(plus(kept.get, times(g.get, stateBytes)), i32.const(0), i32.const(stateBytes))
          : call(parts.gatherState, plus(kept.get, times(g.get, stateBytes)), address("h0", stateElement), lanes),
      ]),
      chunk.set(i32.const(0)),
      first.set(i32.const(0)),
      forLoop(chunk, chunks, 1, [
        row.set(plus(times(batch.get, length), first.get)),
        positions.set(smaller(i32.const(steps), i32.sub(i32.const(length), first.get))),
        call(
          parts.stage,
          records.get,
          constants.get,
          address("u", rowElement),
          address("delta", rowElement),
          positions.get,
          count.get,
        ),
        // The next chunk's states, or the last ones.
        to.set(i32.add(kept.get, i32.const(groups * stateBytes))),
        when(i32.eq(chunk.get, i32.const(chunks - 1)), to.set(last.get)),
        g.set(i32.const(0)),
        record.set(records.get),
        A.set(decays.get),
        forLoop(g, count, 1, [
          n.set(i32.const(0)),
          forLoop(n, fullStates, STATES, scan(parts.scan)),
          N === fullStates ? [] : scan(parts.scanRest),
          advance(record, steps * RECORD),
          [A, kept, to].map((states) => advance(states, stateBytes)),
        ]),
        kept.set(i32.add(kept.get, times(i32.sub(i32.const(groups), count.get), stateBytes))),
        call(
          parts.finish,
          records.get,
          constants.get,
          address("y", rowElement),
          address("z", rowElement),
          positions.get,
          count.get,
        ),
        advance(first, steps),
      ]),
      g.set(i32.const(0)),
      forLoop(
        g,
        count,
        1,
        call(parts.scatterState, address("hT", stateElement), plus(last.get, times(g.get, stateBytes)), lanes),
      ),
    ]),
  ]);
}
