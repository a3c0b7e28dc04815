/**
 * The backward program. A unit is a batch element and a share of its channels; it goes through the chunks from the
 * last to the first. In a chunk it computes the states again from the one kept at its start, then runs the adjoint
 * state g back through them:
 *
 *     g += C_t dy_t;  dC_t = h_t dy_t;  dB_t = g delta_t u_t;  w = a_t g h_(t-1);  dA += w delta_t;  g <- a_t g
 *
 * Sums over channels of a unit are made chunk by chunk, four lanes apart; partial sums of different units (over
 * shares of channels for B and C, over the batch for what has channels only) are added in order by a second phase.
 */
import type { KernelCase } from "@seqmix/tensor";
import {
  buildModule,
  call,
  f32,
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  memory as bulk,
  shuffle32,
  v128,
  whileLoop,
  type Code,
  type CpuPhase,
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
  storeLanes,
  times,
  unitsPerBatch,
  type CpuScanOptions,
  type ScanLayout,
} from "./cpu-layout.js";
import { exp2, sigmoid, softplus } from "./cpu-math.js";
import { eachRecord } from "./cpu-records.js";

const { add, mul, sub } = f32x4;
const VECTOR = 4 * LANES;
/**
 * Record of a position and group: delta, delta u, dy behind the gate; sums over the states: of w A and of g B;
 * y without its gate, sigmoid(z), sigmoid(delta).
 */
const DELTA = 0,
  DRIVE = VECTOR,
  DY = 2 * VECTOR,
  DECAY_SUM = 3 * VECTOR,
  DRIVE_SUM = 4 * VECTOR,
  Y = 5 * VECTOR,
  GATE = 6 * VECTOR,
  SLOPE = 7 * VECTOR,
  RECORD = 8 * VECTOR;
/** Sums over the positions of a group: N vectors of dA, then these. */
const SKIP_SUM = 0,
  BIAS_SUM = VECTOR,
  SUMS = 2 * VECTOR;
/** States that run through a chunk together. */
const STATES = 4;
/** Updates of a state that are worth a claim. */
const UPDATES_PER_CLAIM = 4096;
/** Elements of dB and dC in a unit of the second phase. */
const ELEMENTS = 2048;

/** One gradient per input. */
export function backwardProgram(kase: KernelCase<CpuScanOptions>, memory: { readonly shared: boolean }): CpuProgram {
  const layout = layoutOf(kase, [
    "y",
    "hT",
    "states",
    ...[...kase.cotangents].map(cotangent),
    ...[...kase.present].filter((name) => name !== "resets").map(gradient),
  ]);
  const { batch, length, channels, states: N, groups } = layout;
  const unitGroups = Math.ceil(groups / unitsPerBatch(layout, groups));
  const shares = Math.ceil(groups / unitGroups);
  const functions: WasmFunction[] = [];
  const add = (f: WasmFunction): number => functions.push(f) - 1;
  const parts: Parts = {
    constants: add(constantsFunction(layout)),
    gatherA: add(gatherFunction("gatherA", N, Math.LOG2E)),
    gatherState: add(gatherFunction("gatherState", N, 1)),
    scatterState: add(scatterFunction("scatterState", N)),
    stage: add(stageFunction(layout)),
    adjoint: add(adjointFunction("adjoint", STATES, layout)),
    adjointRest: add(adjointFunction("adjointRest", N % STATES, layout)),
    finish: add(finishFunction(layout)),
    addLanes: add(addLanesFunction(N)),
  };
  add(unitFunction(layout, unitGroups, shares, parts));
  add(channelSumsFunction(layout, parts));
  const phases: CpuPhase[] = [
    {
      run: "backward",
      units: batch * shares,
      grain: Math.max(1, Math.floor(UPDATES_PER_CLAIM / (length * unitGroups * LANES * N))),
    },
    { run: "channelSums", units: groups, grain: Math.ceil(ELEMENTS / (batch * N)) },
  ];
  if (shares > 1) {
    add(mapSumsFunction(layout, shares));
    phases.push({
      run: "mapSums",
      units: batch * Math.ceil((length * N) / ELEMENTS),
      grain: Math.max(1, Math.floor(8 / shares)),
    });
  }
  return {
    name: `selective scan backward [${batch},${length},${channels},${N}]`,
    module: buildModule({ memory, functions }),
    phases,
    scratchBytes: scratchOf(layout, unitGroups).bytes,
    sharedBytes: mapSumsAt(layout) + (shares > 1 ? 2 * mapBytes(layout, shares) : 0),
  };
}

const cotangent = (name: string): string => `cotangent of ${name}`;
const gradient = (name: string): string => `gradient of ${name}`;

/** Offsets in a unit's private block. */
function scratchOf({ states: N, steps }: ScanLayout, unitGroups: number) {
  const constants = 0;
  const decays = constants + unitGroups * CONSTANTS;
  const adjoints = decays + unitGroups * N * VECTOR;
  const records = adjoints + unitGroups * N * VECTOR;
  const tape = records + Math.min(unitGroups, STAGED_GROUPS) * steps * RECORD;
  const sums = tape + steps * STATES * 2 * VECTOR;
  return { constants, decays, adjoints, records, tape, sums, bytes: sums + 2 * steps * N * VECTOR };
}

// The shared block: sums of each batch element and group, then partial dB and dC of each batch element and share.
const channelSumBytes = ({ states: N }: ScanLayout): number => N * VECTOR + SUMS;
const mapSumsAt = (layout: ScanLayout): number => layout.batch * layout.groups * channelSumBytes(layout);
const mapBytes = ({ batch, length, states: N }: ScanLayout, shares: number): number =>
  Math.ceil((4 * batch * shares * length * N) / 64) * 64;

/** (records, constants, u, delta, z, dy, count, groups): fills the records of a chunk. */
function stageFunction(layout: ScanLayout): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"]);
  const [records, constants, u, delta, z, dy, count, groups] = f.params;
  const vector = (): Local => f.local("v128");
  const [x, slope, input, gate, seed] = [vector(), vector(), vector(), vector(), vector()] as const;
  const present = (name: string): boolean => layout.argument(name) !== undefined;
  return f.finish(
    "stage",
    eachRecord(
      f,
      { layout, count, groups, records, constants, rows: [u, delta, z, dy], recordBytes: RECORD },
      ({ record, constant, at }) => [
        x.set(v128.load(i32.add(delta.get, at))),
        present("deltaBias") ? x.set(add(x.get, v128.load(constant.get, BIAS))) : [],
        x.set(masked(x.get, constant, layout)),
        layout.softplus ? [softplus(f.local, x, slope), v128.store(record.get, slope.get, SLOPE)] : [],
        input.set(masked(v128.load(i32.add(u.get, at)), constant, layout)),
        v128.store(record.get, x.get, DELTA),
        v128.store(record.get, mul(x.get, input.get), DRIVE),
        v128.store(record.get, f32x4.const(0), DECAY_SUM),
        v128.store(record.get, f32x4.const(0), DRIVE_SUM),
        seed.set(present(cotangent("y")) ? v128.load(i32.add(dy.get, at)) : f32x4.const(0)),
        !present("z")
          ? []
          : [
              v128.store(record.get, present("D") ? mul(input.get, v128.load(constant.get, SKIP)) : f32x4.const(0), Y),
              x.set(v128.load(i32.add(z.get, at))),
              sigmoid(f.local, x.get, gate),
              v128.store(record.get, gate.get, GATE),
              seed.set(mul(seed.get, mul(x.get, gate.get))),
            ],
        v128.store(record.get, masked(seed.get, constant, layout), DY),
      ],
    ),
  );
}

/**
 * (record, B, C, A, state, g, dA, tape, sums, resets, count): some states of one group through a chunk and back.
 * `sums` are N vectors of dB per position, then the same of dC.
 */
function adjointFunction(name: string, states: number, layout: ScanLayout): WasmFunction {
  const { states: N, steps, argument } = layout;
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"]);
  const [record, B, C, A, state, adjoint, dA, tape, sums, resets, count] = f.params;
  const keeping = keepingOf(layout, f.local, resets);
  const vector = (): Local => f.local("v128");
  const vectors = (): readonly Local[] => Array.from({ length: states }, vector);
  const gated = argument("z") !== undefined;
  const [h, a, da] = [vectors(), vectors(), vectors()];
  const g = h;
  const [delta, drive, dy, y, decay, decaySum, driveSum] = [
    vector(),
    vector(),
    vector(),
    vector(),
    vector(),
    vector(),
    vector(),
  ] as const;
  const temporaries = [vector(), vector(), vector()] as const;
  const weight = temporaries[0];
  const t = f.local("i32");
  const dC = steps * N * VECTOR;
  const tapeBytes = states * 2 * VECTOR;
  const move = (direction: 1 | -1): Code => [
    advance(record, direction * RECORD),
    advance(B, direction * 4 * N),
    advance(C, direction * 4 * N),
    advance(sums, direction * N * VECTOR),
    advance(tape, direction * tapeBytes),
    keeping.move(direction),
  ];
  return f.finish(name, [
    h.map((h, n) => h.set(v128.load(state.get, VECTOR * n))),
    a.map((a, n) => a.set(v128.load(A.get, VECTOR * n))),
    forLoop(t, count, 1, [
      delta.set(v128.load(record.get, DELTA)),
      drive.set(v128.load(record.get, DRIVE)),
      dy.set(v128.load(record.get, DY)),
      gated ? y.set(v128.load(record.get, Y)) : [],
      keeping.read,
      h.map((h, n) => [
        exp2(decay, mul(delta.get, a[n]!.get), temporaries),
        v128.store(tape.get, decay.get, 2 * VECTOR * n),
        v128.store(tape.get, keeping.kept(h.get), 2 * VECTOR * n + VECTOR),
        h.set(add(keeping.kept(mul(decay.get, h.get)), mul(drive.get, v128.load32Splat(B.get, 4 * n)))),
        v128.store(sums.get, add(v128.load(sums.get, dC + VECTOR * n), mul(h.get, dy.get)), dC + VECTOR * n),
        gated ? y.set(add(y.get, mul(h.get, v128.load32Splat(C.get, 4 * n)))) : [],
      ]),
      gated ? v128.store(record.get, y.get, Y) : [],
      move(1),
    ]),
    g.map((g, n) => g.set(v128.load(adjoint.get, VECTOR * n))),
    da.map((da, n) => da.set(v128.load(dA.get, VECTOR * n))),
    t.set(i32.const(0)),
    forLoop(t, count, 1, [
      move(-1),
      delta.set(v128.load(record.get, DELTA)),
      drive.set(v128.load(record.get, DRIVE)),
      dy.set(v128.load(record.get, DY)),
      decaySum.set(v128.load(record.get, DECAY_SUM)),
      driveSum.set(v128.load(record.get, DRIVE_SUM)),
      keeping.read,
      g.map((g, n) => [
        g.set(add(g.get, mul(dy.get, v128.load32Splat(C.get, 4 * n)))),
        v128.store(sums.get, add(v128.load(sums.get, VECTOR * n), mul(g.get, drive.get)), VECTOR * n),
        driveSum.set(add(driveSum.get, mul(g.get, v128.load32Splat(B.get, 4 * n)))),
        g.set(keeping.kept(mul(g.get, v128.load(tape.get, 2 * VECTOR * n)))),
        weight.set(mul(g.get, v128.load(tape.get, 2 * VECTOR * n + VECTOR))),
        da[n]!.set(add(da[n]!.get, mul(weight.get, delta.get))),
        decaySum.set(add(decaySum.get, mul(weight.get, a[n]!.get))),
      ]),
      v128.store(record.get, decaySum.get, DECAY_SUM),
      v128.store(record.get, driveSum.get, DRIVE_SUM),
    ]),
    g.map((g, n) => v128.store(adjoint.get, flushed(g), VECTOR * n)),
    da.map((da, n) => v128.store(dA.get, da.get, VECTOR * n)),
  ]);
}

/** (records, constants, u, z, dy, du, ddelta, dz, channelSums, count, groups): gradients of what has positions and channels. */
function finishFunction(layout: ScanLayout): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"]);
  const [records, constants, u, z, dy, du, ddelta, dz, channelSums, count, groups] = f.params;
  const vector = (): Local => f.local("v128");
  const [input, seed, value, gate, x] = [vector(), vector(), vector(), vector(), vector()] as const;
  const sums = f.local("i32");
  const present = (name: string): boolean => layout.argument(name) !== undefined;
  const accumulate = (term: Code, offset: number): Code =>
    v128.store(sums.get, add(v128.load(sums.get, offset), term), offset);
  return f.finish(
    "finish",
    eachRecord(
      f,
      { layout, count, groups, records, constants, rows: [u, z, dy, du, ddelta, dz], recordBytes: RECORD },
      ({ record, constant, at }) => [
        // The sums of a group are as far apart as those of all states.
        sums.set(plus(channelSums.get, times(i32.shrU(at, i32.const(4)), channelSumBytes(layout)))),
        input.set(masked(v128.load(i32.add(u.get, at)), constant, layout)),
        seed.set(v128.load(record.get, DY)),
        value.set(mul(v128.load(record.get, DRIVE_SUM), v128.load(record.get, DELTA))),
        present("D")
          ? [
              value.set(add(value.get, mul(seed.get, v128.load(constant.get, SKIP)))),
              accumulate(mul(seed.get, input.get), SKIP_SUM),
            ]
          : [],
        storeChannels(i32.add(du.get, at), value, constant, layout),
        // A was multiplied by log2 e.
        value.set(
          add(
            mul(v128.load(record.get, DECAY_SUM), f32x4.const(Math.LN2)),
            mul(v128.load(record.get, DRIVE_SUM), input.get),
          ),
        ),
        layout.softplus ? value.set(mul(value.get, v128.load(record.get, SLOPE))) : [],
        present("deltaBias") ? accumulate(value.get, BIAS_SUM) : [],
        storeChannels(i32.add(ddelta.get, at), value, constant, layout),
        !present("z")
          ? []
          : [
              // The derivative of z sigmoid(z): s + z s (1 - s).
              gate.set(v128.load(record.get, GATE)),
              x.set(v128.load(i32.add(z.get, at))),
              value.set(mul(gate.get, add(f32x4.const(1), mul(x.get, sub(f32x4.const(1), gate.get))))),
              value.set(
                mul(
                  value.get,
                  mul(
                    v128.load(record.get, Y),
                    present(cotangent("y")) ? v128.load(i32.add(dy.get, at)) : f32x4.const(0),
                  ),
                ),
              ),
              storeChannels(i32.add(dz.get, at), value, constant, layout),
            ],
      ],
    ),
  );
}

/** (to, from, rows): to[row][n] = the sum of the lanes of from[row][n], for N states. */
function addLanesFunction(N: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [to, from, count] = f.params;
  const [t, n] = [f.local("i32"), f.local("i32")] as const;
  const x = Array.from({ length: 4 }, () => f.local("v128"));
  const [low, high, sum] = [f.local("v128"), f.local("v128"), f.local("v128")] as const;
  const get = (k: number): Code => x[k]!.get;
  const four: Code = [
    x.map((x, k) => x.set(v128.load(from.get, VECTOR * k))),
    // Lanes 0 + 2 and 1 + 3 of two vectors each, then the rest.
    low.set(add(shuffle32(get(0), get(1), 0, 1, 4, 5), shuffle32(get(0), get(1), 2, 3, 6, 7))),
    high.set(add(shuffle32(get(2), get(3), 0, 1, 4, 5), shuffle32(get(2), get(3), 2, 3, 6, 7))),
    sum.set(add(shuffle32(low.get, high.get, 0, 2, 4, 6), shuffle32(low.get, high.get, 1, 3, 5, 7))),
  ];
  const rest = N % 4;
  return f.finish(
    "addLanes",
    forLoop(t, count, 1, [
      n.set(i32.const(0)),
      forLoop(n, N - rest, 4, [four, v128.store(to.get, sum.get), advance(to, 16), advance(from, 4 * VECTOR)]),
      rest === 0
        ? []
        : [four, storeLanes(to.get, sum, i32.const(rest)), advance(to, 4 * rest), advance(from, VECTOR * rest)],
    ]),
  );
}

/** Positions of a program's functions in its module. */
type Parts = Readonly<
  Record<
    | "constants"
    | "gatherA"
    | "gatherState"
    | "scatterState"
    | "stage"
    | "adjoint"
    | "adjointRest"
    | "finish"
    | "addLanes",
    number
  >
>;

/** The first phase: all chunks of each unit. */
function unitFunction(layout: ScanLayout, unitGroups: number, shares: number, parts: Parts): WasmFunction {
  const { length, channels, states: N, steps, chunks, groups, lastLanes, argument, sharedArgument } = layout;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, unit, unitEnd, scratch] = f.params;
  const local = (): Local => f.local("i32");
  const [batch, group, count, g, n, chunk, positions, row] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const [block, i, record, A, adjoint, kept, sums] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const offsets = scratchOf(layout, unitGroups);
  const stateBytes = N * VECTOR;
  const sumBytes = channelSumBytes(layout);
  const address = (name: string, element: Code): Code =>
    argument(name) === undefined ? i32.const(0) : plus(i32.load(args.get, argument(name)!), times(element, 4));
  const place = (part: keyof typeof offsets, index?: Code, bytes = 0): Code =>
    plus(plus(scratch.get, offsets[part]), index === undefined ? 0 : times(index, bytes));
  /** The group at hand, among all. */
  const here = i32.add(group.get, g.get);
  const lanes = lanesOf(here, groups, lastLanes);
  const stateElement = times(plus(times(batch.get, channels), times(here, LANES)), N);
  const sumsOf = (index: Code): Code =>
    plus(i32.load(args.get, sharedArgument), times(plus(times(batch.get, groups), index), sumBytes));
  const rowElement = plus(times(row.get, channels), times(here, LANES));
  const mapElement = plus(times(row.get, N), n.get);
  const nth = (base: Local): Code => plus(base.get, times(n.get, VECTOR));
  const run = (position: number): Code =>
    call(
      position,
      record.get,
      address("B", mapElement),
      address("C", mapElement),
      nth(A),
      nth(kept),
      nth(adjoint),
      nth(sums),
      place("tape"),
      plus(place("sums"), times(n.get, VECTOR)),
      address("resets", row.get),
      positions.get,
    );
  const fullStates = N - (N % STATES);
  /** Where the chunk's dB (0) or dC (1) goes: to the gradient itself, or to the unit's part of it. */
  const mapSums = (which: 0 | 1): Code =>
    shares === 1
      ? address(gradient(which === 0 ? "B" : "C"), times(row.get, N))
      : plus(
          plus(i32.load(args.get, sharedArgument), mapSumsAt(layout) + which * mapBytes(layout, shares)),
          times(plus(times(unit.get, length), i32.sub(row.get, times(batch.get, length))), 4 * N),
        );
  return f.finish(
    "backward",
    forLoop(unit, unitEnd, 1, [
      batch.set(i32.divU(unit.get, i32.const(shares))),
      group.set(times(i32.remU(unit.get, i32.const(shares)), unitGroups)),
      count.set(smaller(i32.const(unitGroups), i32.sub(i32.const(groups), group.get))),
      call(parts.constants, args.get, place("constants"), group.get, count.get),
      bulk.fill(sumsOf(group.get), i32.const(0), times(count.get, sumBytes)),
      g.set(i32.const(0)),
      forLoop(g, count, 1, [
        call(parts.gatherA, place("decays", g.get, stateBytes), address("A", times(here, LANES * N)), lanes),
        argument(cotangent("hT")) === undefined
          ? bulk.fill(place("adjoints", g.get, stateBytes), i32.const(0), i32.const(stateBytes))
          : call(
              parts.gatherState,
              place("adjoints", g.get, stateBytes),
              address(cotangent("hT"), stateElement),
              lanes,
            ),
      ]),
      chunk.set(i32.const(chunks)),
      whileLoop(chunk.get, [
        advance(chunk, -1),
        row.set(plus(times(batch.get, length), times(chunk.get, steps))),
        positions.set(smaller(i32.const(steps), i32.sub(i32.const(length), times(chunk.get, steps)))),
        bulk.fill(place("sums"), i32.const(0), i32.const(2 * steps * stateBytes)),
        g.set(i32.const(0)),
        forLoop(g, count, STAGED_GROUPS, [
          block.set(smaller(i32.const(STAGED_GROUPS), i32.sub(count.get, g.get))),
          call(
            parts.stage,
            place("records"),
            place("constants", g.get, CONSTANTS),
            address("u", rowElement),
            address("delta", rowElement),
            address("z", rowElement),
            address(cotangent("y"), rowElement),
            positions.get,
            block.get,
          ),
          record.set(place("records")),
          A.set(place("decays", g.get, stateBytes)),
          adjoint.set(place("adjoints", g.get, stateBytes)),
          sums.set(sumsOf(here)),
          kept.set(
            address("states", times(plus(times(plus(times(batch.get, chunks), chunk.get), groups), here), N * LANES)),
          ),
          i.set(i32.const(0)),
          forLoop(i, block, 1, [
            n.set(i32.const(0)),
            forLoop(n, fullStates, STATES, run(parts.adjoint)),
            N === fullStates ? [] : run(parts.adjointRest),
            advance(record, steps * RECORD),
            [A, adjoint, kept].map((states) => advance(states, stateBytes)),
            advance(sums, sumBytes),
          ]),
          call(
            parts.finish,
            place("records"),
            place("constants", g.get, CONSTANTS),
            address("u", rowElement),
            address("z", rowElement),
            address(cotangent("y"), rowElement),
            address(gradient("u"), rowElement),
            address(gradient("delta"), rowElement),
            address(gradient("z"), rowElement),
            plus(sumsOf(here), stateBytes),
            positions.get,
            block.get,
          ),
        ]),
        call(parts.addLanes, mapSums(0), place("sums"), positions.get),
        call(parts.addLanes, mapSums(1), plus(place("sums"), steps * stateBytes), positions.get),
      ]),
      argument("h0") === undefined
        ? []
        : [
            g.set(i32.const(0)),
            forLoop(
              g,
              count,
              1,
              call(
                parts.scatterState,
                address(gradient("h0"), stateElement),
                place("adjoints", g.get, stateBytes),
                lanes,
              ),
            ),
          ],
    ]),
  );
}

/** The second phase for A, D and deltaBias: a unit is a group; the batch elements' sums are added in order. */
function channelSumsFunction(layout: ScanLayout, { scatterState }: Parts): WasmFunction {
  const { batch, states: N, groups, lastLanes, argument, sharedArgument } = layout;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, group, end] = f.params;
  const [b, at, first, next, bytes] = [
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    f.local("i32"),
    channelSumBytes(layout),
  ] as const;
  const total = f.local("v128");
  const lanes = lanesOf(group.get, groups, lastLanes);
  const channelSum = (name: string, offset: number): Code => {
    const result = argument(gradient(name));
    return result === undefined
      ? []
      : [
          total.set(v128.load(first.get, N * VECTOR + offset)),
          storeLanes(plus(i32.load(args.get, result), times(group.get, VECTOR)), total, lanes),
        ];
  };
  return f.finish(
    "channelSums",
    forLoop(group, end, 1, [
      first.set(plus(i32.load(args.get, sharedArgument), times(group.get, bytes))),
      next.set(first.get),
      b.set(i32.const(1)),
      forLoop(b, batch, 1, [
        next.set(plus(next.get, groups * bytes)),
        at.set(i32.const(0)),
        forLoop(at, bytes, VECTOR, [
          v128.store(
            i32.add(first.get, at.get),
            add(v128.load(i32.add(first.get, at.get)), v128.load(i32.add(next.get, at.get))),
          ),
        ]),
      ]),
      call(
        scatterState,
        plus(i32.load(args.get, argument(gradient("A"))!), times(group.get, 4 * LANES * N)),
        first.get,
        lanes,
      ),
      channelSum("D", SKIP_SUM),
      channelSum("deltaBias", BIAS_SUM),
    ]),
  );
}

/** The second phase for B and C: the shares' parts are added in order. A unit is a stretch of a batch element. */
function mapSumsFunction(layout: ScanLayout, shares: number): WasmFunction {
  const { length, states: N, argument, sharedArgument } = layout;
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, unit, end] = f.params;
  const local = (): Local => f.local("i32");
  const [batch, i, last, vectorsEnd, to, from, share, at] = [
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
    local(),
  ] as const;
  const size = length * N;
  const blocks = Math.ceil(size / ELEMENTS);
  const [total, single] = [f.local("v128"), f.local("f32")] as const;
  const sumOf = (which: 0 | 1): Code => [
    to.set(plus(i32.load(args.get, argument(gradient(which === 0 ? "B" : "C"))!), times(batch.get, 4 * size))),
    from.set(plus(i32.load(args.get, sharedArgument), mapSumsAt(layout) + which * mapBytes(layout, shares))),
    from.set(plus(from.get, times(batch.get, 4 * shares * size))),
    i.set(times(i32.remU(unit.get, i32.const(blocks)), ELEMENTS)),
    last.set(smaller(i32.const(size), plus(i.get, ELEMENTS))),
    vectorsEnd.set(plus(last.get, -3)),
    forLoop(i, vectorsEnd, 4, [
      at.set(plus(from.get, times(i.get, 4))),
      total.set(v128.load(at.get)),
      share.set(i32.const(1)),
      forLoop(share, shares, 1, [at.set(plus(at.get, 4 * size)), total.set(add(total.get, v128.load(at.get)))]),
      v128.store(plus(to.get, times(i.get, 4)), total.get),
    ]),
    forLoop(i, last, 1, [
      at.set(plus(from.get, times(i.get, 4))),
      single.set(f32.load(at.get)),
      share.set(i32.const(1)),
      forLoop(share, shares, 1, [at.set(plus(at.get, 4 * size)), single.set(f32.add(single.get, f32.load(at.get)))]),
      f32.store(plus(to.get, times(i.get, 4)), single.get),
    ]),
  ];
  return f.finish(
    "mapSums",
    forLoop(unit, end, 1, [batch.set(i32.divU(unit.get, i32.const(blocks))), sumOf(0), sumOf(1)]),
  );
}
