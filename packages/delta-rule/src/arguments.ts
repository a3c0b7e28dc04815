/** What the delta rule takes and returns. */
import type { Tensor } from "@seqmix/tensor";

/** What `deltaRule` takes. */
export interface DeltaRuleArguments {
  /** Queries [B L H K]. */
  readonly q: Tensor;
  /** Keys [B L H K]; of length 1 for a memory that does not grow. */
  readonly k: Tensor;
  /** Values [B L H V]. */
  readonly v: Tensor;
  /** How much of what a key has written is replaced, 0 to 1 [B L H]. */
  readonly beta: Tensor;
  /** Logarithm of the decay before each position [B L H], at most 0 (Gated DeltaNet); none: nothing decays. */
  readonly logDecay?: Tensor | undefined;
  /** State before the first position [B H K V]; zeros by default. */
  readonly h0?: Tensor | undefined;
  /** 1 at the first position of each of several sequences packed into one, else 0 [B L]. */
  readonly resets?: Tensor | undefined;
}

/** How `deltaRule` computes. */
export interface DeltaRuleOptions {
  /** "chunked" (the default): products of matrices in chunks, a scan between them. "recurrent": one position after another. */
  readonly algorithm?: "chunked" | "recurrent";
  /** Q, positions in a chunk; 64 by default. */
  readonly chunkSize?: number;
}

/** What `deltaRule` returns. */
export interface DeltaRuleResult {
  /** Outputs [B L H V]. */
  readonly y: Tensor;
  /** State after the last position [B H K V]. */
  readonly hT: Tensor;
}

/** What `deltaRuleStep` takes: one position. */
export interface DeltaRuleStepArguments {
  /** Query [B H K]. */
  readonly q: Tensor;
  /** Key [B H K]. */
  readonly k: Tensor;
  /** Value [B H V]. */
  readonly v: Tensor;
  /** Share that is replaced [B H]. */
  readonly beta: Tensor;
  /** Logarithm of the decay [B H]; none: nothing decays. */
  readonly logDecay?: Tensor | undefined;
  /** State before the position [B H K V]. */
  readonly h: Tensor;
}
