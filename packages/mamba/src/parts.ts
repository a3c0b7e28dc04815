/** Settings and parameters of the Mamba block, and what its scan takes of them. */
import { linear, type CausalConv1dParameters, type LinearParameters } from "@seqmix/nn";
import { exp, matmul, neg, reshape, ShapeError, split, transpose, zeros, type Tensor } from "@seqmix/tensor";

/** Settings of {@link mamba}. */
export type MambaConfig = {
  /** Channels D of the residual stream. */
  readonly dModel: number;
  /** N, state entries a channel. */
  readonly dState: number;
  /** W, width of the short convolution. */
  readonly dConv: number;
  /** Channels inside the block (dInner) over those outside. */
  readonly expand: number;
  /** R, rank of the projection to step sizes; "auto" is ceil(dModel / 16). */
  readonly dtRank: number | "auto";
  /** Least and largest initial step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** Initial step sizes below this are raised to it. */
  readonly dtInitFloor: number;
  /** Initial weights of the projection to step sizes: uniform in +-dtScale/sqrt(R), or all dtScale/sqrt(R). */
  readonly dtInit: "random" | "constant";
  /** See `dtInit`. */
  readonly dtScale: number;
  /** Whether the short convolution has a bias. */
  readonly convBias: boolean;
  /** Whether the projections into and out of the block have a bias. */
  readonly bias: boolean;
  /** Whether the step size depends on the input (paper, table 7); else each channel learns one. */
  readonly selectiveDelta: boolean;
  /** Whether B depends on the input; else it is learned for each channel. */
  readonly selectiveB: boolean;
  /** Whether C depends on the input; else it is learned for each channel. */
  readonly selectiveC: boolean;
  /**
   * "v1" and "v2": outputs depend on what comes before and behind, by a second scan from the end whose results are added, as
   * in Vision Mamba. With "v1" it has its own A and shares the rest; with "v2" it has its own convolution, projections and
   * skip, too, and sees the inputs from the end. "none": a causal map.
   */
  readonly bidirectional: "none" | "v1" | "v2";
  /** With "v2": whether the two directions' results are averaged instead of added, `if_devide_out` of the published code. */
  readonly divideOut: boolean;
  /** Q, positions in a piece of the chunked mode. */
  readonly chunkSize: number;
};

/** What a scan in one direction takes of the parameters. */
export type MambaDirection = {
  /** The short convolution: weight [E 1 W], bias [E]. */
  readonly conv1d: CausalConv1dParameters;
  /** Weight [R+2N E]: step sizes, B, C, those of them that depend on the input; none if nothing does. */
  readonly x_proj?: LinearParameters;
  /** Weight [E R], bias [E]; softplus of the result is the step size. The bias alone if it does not depend on the input. */
  readonly dt_proj: {
    /** [E R]. */
    readonly weight?: Tensor;
    /** [E]. */
    readonly bias: Tensor;
  };
  /** Input map [E N], where it does not depend on the input. */
  readonly B?: Tensor;
  /** Output map [E N], where it does not depend on the input. */
  readonly C?: Tensor;
  /** Logarithms of decay rates [E N]: A = -exp(A_log). */
  readonly A_log: Tensor;
  /** Skip from the scan's input to its output [E]. */
  readonly D: Tensor;
};

/** Parameters under the published keys; E is dInner. */
export type MambaParameters = MambaDirection & {
  /** Weight [2E D]: input of the scan, then gate. */
  readonly in_proj: LinearParameters;
  /** Weight [D E]. */
  readonly out_proj: LinearParameters;
  /** Of the scan from the end: its A, with "v1" and "v2". */
  readonly A_b_log?: Tensor;
  /** With "v2" the others as well; see those without `_b`. */
  readonly conv1d_b?: MambaDirection["conv1d"];
  /** With "v2". */
  readonly x_proj_b?: LinearParameters;
  /** With "v2". */
  readonly dt_proj_b?: MambaDirection["dt_proj"];
  /** With "v2", where it does not depend on the input. */
  readonly B_b?: Tensor;
  /** With "v2", where it does not depend on the input. */
  readonly C_b?: Tensor;
  /** With "v2". */
  readonly D_b?: Tensor;
};

/** Rows of x_proj for step sizes, B and C: none for what does not depend on the input. */
export function sizes(config: MambaConfig): readonly [number, number, number] {
  const N = config.dState;
  return [config.selectiveDelta ? extents(config).R : 0, config.selectiveB ? N : 0, config.selectiveC ? N : 0];
}

/** What the scan takes besides its input and gate. */
export type Selected = Readonly<Record<"delta" | "A" | "B" | "C" | "D" | "deltaBias", Tensor>>;

/** What the scan takes besides its input [.. E]: step size before its bias, A, B, C and the skip; constant B and C are [E N]. */
export function select(config: MambaConfig, params: MambaDirection, u: Tensor): Selected {
  const present = sizes(config).filter((size) => size > 0);
  const rows = present.reduce((total, size) => total + size, 0);
  const given = params.x_proj?.weight.shape[0] ?? 0;
  if (given !== rows)
    throw new ShapeError(
      `mamba: expected an x_proj of ${rows} rows for this config, got ${given}; take the parameters from init with the same config`,
    );
  const parts = params.x_proj ? split(linear(params.x_proj, u), present, -1) : [];
  const next = (selective: boolean, constant: Tensor | undefined, name: string): Tensor => {
    const part = selective ? parts.shift() : constant;
    if (!part)
      throw new TypeError(
        `mamba: expected ${name} among the parameters for this config, got none; take them from init with the same config`,
      );
    return part;
  };
  const { weight, bias } = params.dt_proj;
  const delta =
    config.selectiveDelta && weight ? matmul(next(true, undefined, "x_proj"), transpose(weight)) : zeros(u.shape);
  return {
    delta,
    A: neg(exp(params.A_log)),
    B: next(config.selectiveB, params.B, "B"),
    C: next(config.selectiveC, params.C, "C"),
    D: params.D,
    deltaBias: bias,
  };
}

/** The convolution's parameters without the axis of one input a group. */
export function depthwise({ conv1d: { weight, bias } }: MambaDirection): CausalConv1dParameters {
  const flat = reshape(weight, [weight.shape[0]!, weight.shape[2]!]);
  return bias ? { weight: flat, bias } : { weight: flat };
}

/** dInner and the rank of the step size's projection. */
export function extents({ dModel, expand, dtRank }: MambaConfig): { readonly E: number; readonly R: number } {
  const E = expand * dModel;
  const R = dtRank === "auto" ? Math.ceil(dModel / 16) : dtRank;
  if (!Number.isInteger(E) || E < 1)
    throw new RangeError(`mamba: expected expand * dModel to be a positive integer, got ${expand} * ${dModel}`);
  if (!Number.isInteger(R) || R < 1)
    throw new RangeError(`mamba: expected dtRank "auto" or a positive integer, got ${String(dtRank)}`);
  return { E, R };
}
