/** One input through the three algorithms of structured masked attention, with what each of them looks at. */
import { decayMask, structuredMaskedAttention, type StructuredMaskedAttentionAlgorithm } from "@seqmix/ssd";
import { linearScan } from "@seqmix/scan";
import {
  abs,
  exp,
  expandDims,
  key,
  matmul,
  max,
  mul,
  normal,
  realize,
  reshape,
  sub,
  tensor,
  transpose,
  type Device,
  type Tensor,
} from "@seqmix/tensor";

/** What is shown of one input. */
export interface DualitySettings {
  /** L, positions. */
  readonly length: number;
  /** Q, positions in a chunk. */
  readonly chunkSize: number;
  /** What a step keeps on average, 0 to 1. */
  readonly decay: number;
  /** Positions at which a step forgets nearly everything. */
  readonly forget: boolean;
}

/** How one algorithm did. */
export interface AlgorithmRun {
  readonly algorithm: StructuredMaskedAttentionAlgorithm;
  readonly milliseconds: number;
  /** Largest difference of an output from the recurrence's. */
  readonly difference: number;
}

/** Everything that is drawn. */
export interface Duality {
  /** What is left at t of what s wrote, [L L]. */
  readonly mask: ArrayLike<number>;
  /** Mask times scores: the attention matrix, [L L]. */
  readonly attention: ArrayLike<number>;
  /** The state after each position, [L K V]. */
  readonly states: ArrayLike<number>;
  readonly runs: readonly AlgorithmRun[];
}

/** K and V: keys and values are vectors of so many numbers. */
export const STATE = 8;

const algorithms = ["recurrent", "quadratic", "chunked"] as const;

/** Runs one head over a random input on a device, three ways. */
export async function runDuality(
  { length: L, chunkSize, decay, forget }: DualitySettings,
  device: Device,
): Promise<Duality> {
  const [B, H, K, V] = [1, 1, STATE, STATE];
  const q = normal(key(1), [B, L, H, K], 0, K ** -0.5);
  const k = normal(key(2), [B, L, H, K]);
  const v = normal(key(3), [B, L, H, V]);
  // A step every sixteen that lets go of the past, as a selective model does where a new sentence begins.
  const kept = Float32Array.from({ length: L }, (_, t) => (forget && t % 16 === 10 ? 0.02 : decay));
  const logDecay = tensor(kept.map(Math.log), [B, L, H]);
  await realize([q, k, v, logDecay], { device });

  const heads = (x: Tensor): Tensor => transpose(x, [0, 2, 1, 3]);
  const mask = decayMask(transpose(logDecay, [0, 2, 1]));
  const attention = mul(matmul(heads(q), transpose(heads(k))), mask);
  const a = exp(reshape(logDecay, [B, L, H, 1, 1]));
  const states = linearScan({ a, b: mul(expandDims(k, 4), expandDims(v, 3)), axis: 1 });
  const run = (algorithm: StructuredMaskedAttentionAlgorithm): Tensor =>
    structuredMaskedAttention({ q, k, v, logDecay }, { algorithm, chunkSize: Math.min(chunkSize, L) }).y;

  const expected = await realize(run("recurrent"), { device });
  const runs: AlgorithmRun[] = [];
  for (const algorithm of algorithms) {
    await realize(run(algorithm), { device }); // the first run compiles
    const started = performance.now();
    const y = await realize(run(algorithm), { device });
    const milliseconds = performance.now() - started;
    runs.push({ algorithm, milliseconds, difference: await max(abs(sub(y, expected))).item() });
  }
  const [maskValues, attentionValues, stateValues] = await Promise.all(
    (await realize([mask, attention, states], { device })).map((each) => each.data()),
  );
  return { mask: maskValues!, attention: attentionValues!, states: stateValues!, runs };
}
