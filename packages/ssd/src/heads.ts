/** Heads in groups: the layout in which the three algorithms work. */
import {
  broadcastTo,
  cast,
  DTypeError,
  formatShape,
  greater,
  reshape,
  ShapeError,
  where,
  zeros,
  type Tensor,
} from "@seqmix/tensor";

/** What structured masked attention takes; H is the largest number of heads among q, k and v, and fewer are shared by neighbours. */
export interface StructuredMaskedAttentionArguments {
  /** Queries (C of a state-space model) [B L H K]; of G heads, each serves H/G neighbours. */
  readonly q: Tensor;
  /** Keys (B of a state-space model) [B L H K], or of G heads. */
  readonly k: Tensor;
  /** Values (the input) [B L H V], or of G heads. */
  readonly v: Tensor;
  /**
   * Logarithm of the decay, at most 0: a number a head [H] or a head and key [H K], the same at every position; or one for
   * each position too, [B L H] or [B L H K], where B and L may be 1. None: nothing decays.
   */
  readonly logDecay?: Tensor | undefined;
  /** State before the first position [B H K V]; zeros by default. */
  readonly h0?: Tensor | undefined;
  /** 1 at the first position of each of several sequences packed into one, else 0 [B L]: nothing reaches across, `h0` included. */
  readonly resets?: Tensor | undefined;
}

/** The arguments with heads as [G R]: G groups of R neighbours. Where all of a group share, r is 1, else R. */
export interface Heads {
  /** [B L G r K]. */
  readonly q: Tensor;
  /** [B L G r K]. */
  readonly k: Tensor;
  /** [B L G r V]. */
  readonly v: Tensor;
  /** [b l G R K] or [b l G R 1], with b of 1 or B, l of 1 or L. */
  readonly logDecay: Tensor | undefined;
  /** [B G R K V]. */
  readonly h0: Tensor | undefined;
  /** f32 [B L]. */
  readonly resets: Tensor | undefined;
}

/** Outputs [B L G R V] and the state after the last position [B G R K V]. */
export interface HeadsResult {
  readonly y: Tensor;
  readonly h: Tensor;
}

/** Extents of all axes; H = G R. */
export type Extents = Readonly<Record<"B" | "L" | "H" | "G" | "R" | "K" | "V", number>>;

/** Extents that fit all arguments. @throws ShapeError naming what does not fit. */
export function extentsOf({ q, k, v, logDecay, h0, resets }: StructuredMaskedAttentionArguments): Extents {
  if ([q, k, v].some(({ shape }) => shape.length !== 4))
    throw new ShapeError(
      `structuredMaskedAttention: expected q and k [B L H K] and v [B L H V], got shapes ${[q, k, v].map(({ shape }) => formatShape(shape)).join(", ")}`,
    );
  const [B, L, , K] = q.shape as [number, number, number, number];
  const V = v.shape[3]!;
  const heads = [q, k, v].map(({ shape }) => shape[2]!);
  const [H, G] = [Math.max(...heads), Math.min(...heads)];
  if (heads.some((count) => count !== H && count !== G) || H % G !== 0)
    throw new ShapeError(
      `structuredMaskedAttention: expected q, k and v of H heads or of G that divide H, got ${heads.join(", ")} heads; repeat those of one`,
    );
  const expect = (name: string, x: Tensor | undefined, ...shapes: (readonly number[])[]): void => {
    if (x && !shapes.some((shape) => shape.join() === x.shape.join()))
      throw new ShapeError(
        `structuredMaskedAttention: expected ${name} ${shapes.map(formatShape).join(" or ")}, got shape ${formatShape(x.shape)}`,
      );
  };
  expect("q", q, [B, L, q.shape[2]!, K]);
  expect("k", k, [B, L, k.shape[2]!, K]);
  expect("v", v, [B, L, v.shape[2]!, V]);
  expect("h0", h0, [B, H, K, V]);
  expect("resets", resets, [B, L]);
  if (logDecay) {
    const [b, l] = [logDecay.shape[0] === B ? B : 1, logDecay.shape[1] === L ? L : 1];
    expect("logDecay", logDecay, [H], [H, K], [b, l, H], [b, l, H, K]);
    if (logDecay.dtype !== "f32")
      throw new DTypeError(
        `structuredMaskedAttention: expected an f32 logDecay, got ${logDecay.dtype}; convert it with cast`,
      );
  }
  return { B, L, H, G, R: H / G, K, V };
}

/** The arguments in groups. */
export function inHeads(given: StructuredMaskedAttentionArguments, { B, G, R, K, V }: Extents): Heads {
  const grouped = (x: Tensor): Tensor => {
    const [b, l, heads, extent] = x.shape as [number, number, number, number];
    return reshape(x, [b, l, G, heads / G, extent]);
  };
  const { logDecay, h0, resets } = given;
  const [constant, alike] = [(logDecay?.shape.length ?? 0) < 3, logDecay && logDecay.shape.length % 2 === 1];
  return {
    q: grouped(given.q),
    k: grouped(given.k),
    v: grouped(given.v),
    logDecay: logDecay && reshape(logDecay, [...(constant ? [1, 1] : logDecay.shape.slice(0, 2)), G, R, alike ? 1 : K]),
    h0: h0 && reshape(h0, [B, G, R, K, V]),
    resets: resets && cast(resets, "f32"),
  };
}

/** A log decay that forgets everything: its exponential is 0, in double precision too. */
const FORGET = -1e4;

/**
 * The decay at each position, with a reset as one that forgets [B L ..]; a decay that is the same everywhere and without
 * resets once, at `length` positions [1 length ..]; none where nothing decays.
 */
export function logDecayOf({ logDecay, resets }: Heads, { B, L }: Extents, length: number = L): Tensor | undefined {
  if (!logDecay && !resets) return undefined;
  const given = logDecay ?? zeros([1, 1, 1, 1, 1]);
  const [b, l, ...rest] = given.shape as [number, number, ...number[]];
  if (!resets) return broadcastTo(given, [...(b === 1 && l === 1 ? [1, length] : [B, L]), ...rest]);
  return where(greater(reshape(resets, [B, L, 1, 1, 1]), 0), FORGET, broadcastTo(given, [B, L, ...rest]));
}
