/** Runs benchmark cases: opens every contestant, checks, measures, and makes rows. */
import type { Device } from "@seqmix/tensor";
import { openDevice } from "../commands/devices.js";
import { messageOf } from "../commands/usage-error.js";
import { relativeError } from "./compare.js";
import type { BenchmarkCase, Contestant, OwnContestant, PeerPackages, PreparedCase } from "./contestant.js";
import { inBursts } from "./gpu.js";
import { measure, type MeasureOptions } from "./measure.js";
import type { Check, KernelRow, Products } from "./row.js";
import type { Timing } from "./statistics.js";

/** What to measure. */
export interface KernelRun {
  readonly device: string;
  /** Numbers of threads, each a row of its own. */
  readonly threads: readonly number[];
  /** Undefined: only the loops that need no package. */
  readonly packages: PeerPackages | undefined;
  readonly measure: MeasureOptions;
  /** How exact products of f32 are on a GPU's matrix units; "f32" by default. */
  readonly products?: Products;
  /** Called with a sentence about a peer that was left out. */
  readonly warn: (sentence: string) => void;
}

/** A peer's result may be this far from ours, relative to the largest value; beyond, it does something else. */
const SAME = 1e-3;

interface Own {
  readonly threads: number;
  readonly device: Device;
  readonly contestant: OwnContestant;
}

/** One row for each number of threads, all measured in the same rounds as the peers. */
export async function runCase(case_: BenchmarkCase, run: KernelRun): Promise<readonly KernelRow[]> {
  const { products = "f32" } = run;
  const prepared = case_.prepare();
  const own: Own[] = [];
  let peers = new Map<string, Contestant>();
  let beside: Readonly<Record<string, Contestant>> = {};
  try {
    for (const threads of run.threads) {
      const device = await openDevice(run.device, { threads, halfPrecision: true, products, exactTimestamps: true });
      own.push({ threads, device, contestant: await prepared.open(device, products) });
    }
    peers = await openPeers(case_, prepared, await own[0]!.contestant.read(), run);
    beside = (await prepared.beside?.(own[0]!.device)) ?? {};
    const contestants = new Map<number | string, Contestant>([
      ...own.map(({ threads, contestant }) => [threads, contestant] as const),
      ...peers,
      ...Object.entries(beside),
    ]);
    const timings = await measureOn(own[0]!.device, contestants, run.measure);
    const peerTimes = Object.fromEntries(
      [...peers.keys(), ...Object.keys(beside)].map((name) => [name, timings.get(name)!.ms]),
    );
    const rows: KernelRow[] = [];
    for (const { threads, device, contestant } of own)
      rows.push(
        rowOf(case_, {
          device: device.name,
          products,
          threads,
          variant: contestant.variant,
          timing: timings.get(threads)!,
          extraBytes: contestant.extraBytes,
          idle: await contestant.idle?.(),
          check: await contestant.check(),
          peers: peerTimes,
        }),
      );
    return rows;
  } finally {
    for (const each of [...peers.values(), ...Object.values(beside), ...own.map(({ contestant }) => contestant)])
      await each.close();
    for (const { device } of own) await device.close();
  }
}

/** Times of one piece of work. On a GPU, which works behind the host's back, a run is a burst of runs that is waited for. */
async function measureOn(
  device: Device,
  contestants: ReadonlyMap<number | string, Contestant>,
  options: MeasureOptions,
): Promise<Map<number | string, Timing>> {
  const bursts = await inBursts(device, contestants);
  const timings = await measure<number | string>(bursts ?? contestants, options);
  return new Map(
    [...timings].map(([name, { ms, minMs, maxMs }]) => {
      const work = (bursts?.get(name)!.length ?? 1) * (contestants.get(name)!.times ?? 1);
      return [name, { ms: ms / work, minMs: minMs / work, maxMs: maxMs / work }];
    }),
  );
}

/** The peers that run and compute the same as we do. */
async function openPeers(
  { kernel, shape }: BenchmarkCase,
  { loops, peers }: PreparedCase,
  ours: ArrayLike<number>,
  { packages, warn }: KernelRun,
): Promise<Map<string, Contestant>> {
  const openers: Readonly<Record<string, () => Contestant | Promise<Contestant>>> = {
    ...loops,
    ...(packages && Object.fromEntries(Object.entries(peers).map(([name, open]) => [name, () => open(packages)]))),
  };
  const opened = new Map<string, Contestant>();
  for (const [name, open] of Object.entries(openers)) {
    try {
      const peer = await open();
      const error = relativeError(await peer.read(), ours);
      if (error <= SAME) opened.set(name, peer);
      else {
        warn(
          `${name} is left out of ${kernel} ${shape}: its result differs from ours by ${error.toExponential(1)} of the largest value`,
        );
        await peer.close();
      }
    } catch (error) {
      warn(`${name} is left out of ${kernel} ${shape}: ${messageOf(error)}`);
    }
  }
  return opened;
}

/** What was found of a case. */
export interface Findings {
  readonly device: string;
  readonly products: Products;
  readonly threads: number;
  readonly variant: string;
  readonly timing: Timing;
  readonly extraBytes?: number | undefined;
  readonly idle?: number | undefined;
  readonly check: Check;
  readonly peers: Readonly<Record<string, number>>;
}

/** The row of a case. A bar is judged only if the check is green. */
export function rowOf(
  { kernel, shape, mode, bytes, flops, tokens, bars: usual, tf32Bars = usual, reference, dtype = "f32" }: BenchmarkCase,
  { device, products, threads, variant, timing, extraBytes, idle, check: { check, ...checkDetail }, peers }: Findings,
): KernelRow {
  const tokensPerSecond = tokens === undefined ? {} : { tokensPerSecond: (1000 * tokens) / timing.ms };
  const more = {
    ...tokensPerSecond,
    ...(extraBytes !== undefined && { extraBytes }),
    ...(idle !== undefined && { idle }),
  };
  const bars = products === "tf32" ? tf32Bars : usual;
  const bar = bars.find((each) => each.threads === threads);
  const judged = check === "green" ? bar?.judge({ ms: timing.ms, peers, flops, bytes, ...more }) : undefined;
  return {
    kernel,
    variant,
    device,
    threads,
    shape,
    dtype,
    products: dtype === "f16" ? "f16" : products,
    mode,
    ...timing,
    bytes,
    flops,
    ...more,
    check,
    checkDetail,
    ...(checkDetail.unit === "ulp" && { maxUlp: checkDetail.error }),
    peers,
    ...(bar && { bar: { asked: bar.asked, reached: judged?.reached ?? null, met: judged?.met ?? null } }),
    ...(reference !== undefined && { reference }),
  };
}
