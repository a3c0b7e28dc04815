/** The figures asked of the devices, as rules over a row. */
import { formatCount } from "../report/format.js";
import type { KernelRow } from "./row.js";

/** A figure that is asked for. */
export interface Bar {
  /** Threads of the row it is asked of. */
  readonly threads: number;
  /** In words. */
  readonly asked: string;
  /** Undefined if a peer it names was not measured. */
  judge(row: Measured): { readonly reached: string; readonly met: boolean } | undefined;
}

/** What a bar looks at. */
export type Measured = Pick<KernelRow, "ms" | "peers" | "tokensPerSecond" | "flops" | "bytes" | "extraBytes" | "idle">;

/** Names of peers as they stand in rows. */
export const peerNames = {
  onnx1: "onnxruntime-node 1 thread",
  onnx2: "onnxruntime-node 2 threads",
  tensorflow: "tfjs-wasm 1 thread",
  jax: "jax-js 1 thread",
  fft: "fft.js",
  pffft: "pffft-wasm 1 thread",
  loop: "typed-array loop",
} as const;

/** At least `factor` times the speed of the fastest of the peers. */
export function fasterThan(factor: number, peers: readonly string[], threads: number): Bar {
  return {
    threads,
    asked: `≥ ${factor}x ${peers.length > 1 ? `best of ${peers.join(", ")}` : peers[0]}`,
    judge({ ms, peers: measured }) {
      const times = peers.flatMap((name) => measured[name] ?? []);
      if (times.length < peers.length) return undefined;
      const ratio = Math.min(...times) / ms;
      return { reached: `${ratio.toFixed(2)}x`, met: ratio >= factor };
    },
  };
}

/** At most `share` of the peer's time. */
export function shareOfTime(share: number, peer: string, threads: number): Bar {
  return {
    threads,
    asked: `≤ ${share}x the time of ${peer}`,
    judge({ ms, peers }) {
      const other = peers[peer];
      return other === undefined ? undefined : { reached: `${(ms / other).toFixed(2)}x`, met: ms / other <= share };
    },
  };
}

/** At most the times of peers, each so many times. */
export function timesOf(shares: Readonly<Record<string, number>>, threads = 1): Bar {
  const entries = Object.entries(shares);
  return {
    threads,
    asked: `≤ ${entries.map(([peer, share]) => `${share === 1 ? "" : `${share}x `}${peer}`).join(" + ")}`,
    judge({ ms, peers }) {
      if (entries.some(([peer]) => peers[peer] === undefined)) return undefined;
      const limit = entries.reduce((total, [peer, share]) => total + share * peers[peer]!, 0);
      return { reached: `${ms.toFixed(3)} of ${limit.toFixed(3)} ms`, met: ms <= limit };
    },
  };
}

/** At least so many tokens a second. */
export function tokenRate(least: number, threads: number): Bar {
  return {
    threads,
    asked: `≥ ${formatCount(least)} tokens/s`,
    judge: ({ tokensPerSecond }) =>
      tokensPerSecond === undefined
        ? undefined
        : { reached: formatCount(tokensPerSecond), met: tokensPerSecond >= least },
  };
}

/** At most so many ms. */
export const atMost = (limit: number, threads = 1): Bar => ({
  threads,
  asked: `≤ ${limit} ms`,
  judge: ({ ms }) => ({ reached: `${ms.toFixed(3)} ms`, met: ms <= limit }),
});

/** At most so many ms, and so many MiB beside the inputs. */
export const atMostWithin = (limit: number, mebibytes: number): Bar => ({
  threads: 1,
  asked: `≤ ${limit} ms and ${mebibytes} MiB`,
  judge({ ms, extraBytes }) {
    if (extraBytes === undefined) return undefined;
    const extra = extraBytes / 2 ** 20;
    return { reached: `${ms.toFixed(3)} ms, ${Math.ceil(extra)} MiB`, met: ms <= limit && extra <= mebibytes };
  },
});

/** At most so many MiB beside the inputs. */
export const withinMemory = (mebibytes: number): Bar => ({
  threads: 1,
  asked: `≤ ${mebibytes.toFixed(1)} MiB`,
  judge({ extraBytes }) {
    if (extraBytes === undefined) return undefined;
    const extra = extraBytes / 2 ** 20;
    return { reached: `${extra.toFixed(1)} MiB`, met: extra <= mebibytes };
  },
});

/** At least so many TFLOP/s. */
export const teraFlops = (least: number): Bar => ({
  threads: 1,
  asked: `≥ ${least} TFLOP/s`,
  judge: ({ ms, flops }) => ({ reached: `${(flops / ms / 1e9).toFixed(1)} TFLOP/s`, met: flops / ms / 1e9 >= least }),
});

/** At least so many TB/s of compulsory traffic. */
export const teraBytes = (least: number): Bar => ({
  threads: 1,
  asked: `≥ ${least} TB/s`,
  judge: ({ ms, bytes }) => ({ reached: `${(bytes / ms / 1e9).toFixed(2)} TB/s`, met: bytes / ms / 1e9 >= least }),
});

/** At least `share` of the rate at which a peer moves so many bytes, with the row's own bytes. */
export const shareOfTraffic = (share: number, peer: string, peerBytes: number): Bar => ({
  threads: 1,
  asked: `≥ ${share}x the rate of ${peer}`,
  judge({ ms, bytes, peers }) {
    const other = peers[peer];
    const ratio = other === undefined ? undefined : bytes / ms / (peerBytes / other);
    return ratio === undefined ? undefined : { reached: `${ratio.toFixed(2)}x`, met: ratio >= share };
  },
});
