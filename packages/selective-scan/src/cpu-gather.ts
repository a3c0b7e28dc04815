/** What a unit reads and writes once: states and constants of its channels, as vectors of four channels. */
import {
  f32x4,
  forLoop,
  functionBuilder,
  i32,
  i32x4,
  v128,
  when,
  type Code,
  type Local,
  type WasmFunction,
} from "@seqmix/tensor/wasm";
import { advance, LANES, laneMask, plus, smaller, storeLanes, times, type ScanLayout } from "./cpu-layout.js";

/** (to, from, lanes): to[n][lane] = scale * from[lane][n] for N states; lanes from `lanes` on become 0. */
export function gatherFunction(name: string, N: number, scale: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [to, from, lanes] = f.params;
  const rows = [1, 2, 3].map(() => f.local("i32"));
  const [n, mask, value] = [f.local("i32"), f.local("v128"), f.local("v128")] as const;
  return f.finish(name, [
    mask.set(laneMask(lanes.get)),
    // Lanes that are not there read the last row.
    rows.map((row, k) => row.set(plus(from.get, times(smaller(i32.const(k + 1), plus(lanes.get, -1)), 4 * N)))),
    forLoop(n, N, 1, [
      value.set(v128.load32Zero(from.get)),
      rows.map((row, k) => value.set(v128.load32Lane(row.get, value.get, k + 1))),
      scale === 1 ? [] : value.set(f32x4.mul(value.get, f32x4.const(scale))),
      v128.store(to.get, v128.and(value.get, mask.get)),
      [from, ...rows].map((row) => advance(row, 4)),
      advance(to, 4 * LANES),
    ]),
  ]);
}

/** (to, from, lanes): to[lane][n] = from[n][lane] for N states and the first `lanes` lanes. */
export function scatterFunction(name: string, N: number): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32"]);
  const [to, from, lanes] = f.params;
  const [n, value] = [f.local("i32"), f.local("v128")] as const;
  return f.finish(
    name,
    forLoop(n, N, 1, [
      value.set(v128.load(from.get)),
      storeLanes(to.get, value, lanes.get, 4 * N),
      advance(from, 4 * LANES),
      advance(to, 4),
    ]),
  );
}

/** Offsets in the constants of a group, and their size. `MASK` has ones in the lanes that are channels. */
export const MASK = 0,
  BIAS = 16,
  SKIP = 32,
  CONSTANTS = 48;

/** (args, to, group, groups): the constants of `groups` groups from `group` on. */
export function constantsFunction({ argument, groups: allGroups, lastLanes }: ScanLayout): WasmFunction {
  const f = functionBuilder(["i32", "i32", "i32", "i32"]);
  const [args, to, group, end] = f.params;
  const mask = f.local("v128");
  const copy = (name: string, offset: number): Code => {
    const place = argument(name);
    return place === undefined
      ? []
      : v128.store(
          to.get,
          v128.and(mask.get, v128.load(plus(i32.load(args.get, place), times(group.get, 4 * LANES)))),
          offset,
        );
  };
  return f.finish("constants", [
    end.set(i32.add(group.get, end.get)),
    forLoop(group, end, 1, [
      mask.set(laneMask(lanesOf(group.get, allGroups, lastLanes))),
      v128.store(to.get, mask.get, MASK),
      copy("deltaBias", BIAS),
      copy("D", SKIP),
      advance(to, CONSTANTS),
    ]),
  ]);
}

/** Channels in a group. */
export const lanesOf = (group: Code, groups: number, lastLanes: number): Code =>
  lastLanes === LANES
    ? i32.const(LANES)
    : i32.sub(i32.const(LANES), times(i32.eq(group, i32.const(groups - 1)), LANES - lastLanes));

/** `value` with zeros in lanes that are no channels. */
export const masked = (value: Code, constants: Local, { lastLanes }: ScanLayout): Code =>
  lastLanes === LANES ? value : v128.and(value, v128.load(constants.get, MASK));

/** Stores the lanes that are channels. */
export const storeChannels = (address: Code, value: Local, constants: Local, { lastLanes }: ScanLayout): Code => {
  if (lastLanes === LANES) return v128.store(address, value.get);
  const mask = v128.load(constants.get, MASK);
  return when(
    i32x4.allTrue(mask),
    v128.store(address, value.get),
    storeLanes(address, value, i32.popcnt(i32x4.bitmask(mask))),
  );
};
