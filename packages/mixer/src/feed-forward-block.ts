/** The feed-forward block behind a mixer: x + mlp(norm2(x)). */
import {
  gatedMlp,
  initGatedMlp,
  initMlp,
  initRmsNorm,
  mlp,
  rmsNorm,
  type GatedMlpParameters,
  type MlpParameters,
  type RmsNormParameters,
} from "@seqmix/nn";
import { add, assertFields, assertSettings, foldIn, type Key, type Tensor } from "@seqmix/tensor";

/** Which feed-forward block. */
export interface FeedForwardConfig {
  /** "mlp": two linear maps with GELU between them. "gated": three with silu(gate) up (SwiGLU). */
  readonly kind: "mlp" | "gated";
  /** F, channels between the maps. */
  readonly dHidden: number;
  /** Whether the maps have a bias; false by default. */
  readonly bias?: boolean;
}

/** Parameters of one block. */
export type FeedForwardBlockParameters = {
  /** Scale [D] of the norm before the maps. */
  readonly norm2: RmsNormParameters;
  /** The maps. */
  readonly mlp: MlpParameters | GatedMlpParameters;
};

/**
 * @throws TypeError for settings that do not exist, RangeError for values that mean nothing.
 * @internal
 */
export function assertFeedForward(config: FeedForwardConfig): void {
  assertSettings("feedForward", config, ["kind", "dHidden", "bias"]);
  const { kind, dHidden, bias = false } = config;
  assertFields(
    "feedForward",
    { kind, dHidden, bias },
    {
      kind: ["mlp", "gated"],
      dHidden: { from: 1, whole: true },
      bias: "flag",
    },
  );
}

/** A norm of ones and fresh maps. */
export function initFeedForwardBlock(config: FeedForwardConfig, dModel: number, key: Key): FeedForwardBlockParameters {
  assertFeedForward(config);
  const { kind, dHidden, bias = false } = config;
  const init = kind === "gated" ? initGatedMlp : initMlp;
  return { norm2: initRmsNorm(dModel), mlp: init(foldIn(key, "mlp"), dModel, dHidden, { bias }) };
}

/** x [.. D] -> x + mlp(norm2(x)) [.. D]. RMSNorm with eps 1e-5. */
export function feedForwardBlock({ norm2, mlp: maps }: FeedForwardBlockParameters, x: Tensor): Tensor {
  const normed = rmsNorm(norm2, x);
  return add(x, "fc1" in maps ? mlp(maps, normed) : gatedMlp(maps, normed));
}
