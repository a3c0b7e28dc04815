/**
 * The Mamba block that sees both ways, in the two ways of Vision Mamba (Zhu et al., Vision Mamba: Efficient Visual Representation
 * Learning with Bidirectional State Space Model, 2024), `bimamba_type` of its released code.
 */
import { causalConv1d, linear } from "@seqmix/nn";
import { selectiveScan } from "@seqmix/selective-scan";
import { add, concat, flip, full, mul, neg, exp, sliceAxis, split, type Tensor } from "@seqmix/tensor";
import { depthwise, extents, select, type MambaConfig, type MambaDirection, type MambaParameters } from "./parts.js";

/**
 * out_proj of the sum of both directions: x [B L D] -> [B L D].
 * @param resets bool [B L], true at the first position of each of several sequences packed into one.
 */
export function bothWays(config: MambaConfig, params: MambaParameters, x: Tensor, resets?: Tensor): Tensor {
  if (x.shape[1] === 0) return x;
  const { E } = extents(config);
  const [input, z] = split(linear(params.in_proj, x), [E, E], -1) as [Tensor, Tensor];
  const ends = resets && back(lastOfEach(resets));
  const whole: Direction = { input, z, resets };
  if (config.bidirectional === "v1") return linear(params.out_proj, sharedInputs(config, params, whole, ends));
  const forward = oneWay(config, params, whole);
  const backward = oneWay(config, fromTheEnd(params), { input: back(input), z: back(z), resets: ends });
  const total = add(forward, back(backward));
  return linear(params.out_proj, config.divideOut ? mul(total, 0.5) : total);
}

/** What a direction reads, in its own order [B L E]. */
interface Direction {
  readonly input: Tensor;
  readonly z: Tensor;
  readonly resets: Tensor | undefined;
}

const back = (x: Tensor): Tensor => flip(x, 1);

/** bool [B L], true at the last position of each sequence. */
function lastOfEach(resets: Tensor): Tensor {
  const [B, L] = resets.shape as [number, number];
  return concat([sliceAxis(resets, 1, 1, L), full([B, 1], 1, "bool")], 1);
}

/** Convolution and scan of "v2" in one direction [B L E]. */
function oneWay(config: MambaConfig, params: MambaDirection, { input, z, resets }: Direction): Tensor {
  const [u] = causalConv1d(depthwise(params), input, undefined, { activation: "silu", resets });
  return selectiveScan({ ...select(config, params, u), u, z, resets }, { deltaSoftplus: true }).y;
}

/** "v1": one convolution and one projection, looking back, for two scans that differ in A alone [B L E]. */
function sharedInputs(
  config: MambaConfig,
  params: MambaParameters,
  { input, z, resets }: Direction,
  ends: Tensor | undefined,
): Tensor {
  const [u] = causalConv1d(depthwise(params), input, undefined, { activation: "silu", resets });
  const selected = select(config, params, u);
  const { y: forward } = selectiveScan({ ...selected, u, z, resets }, { deltaSoftplus: true });
  const { y: backward } = selectiveScan(
    {
      ...selected,
      A: neg(exp(own(params.A_b_log, "A_b_log"))),
      delta: back(selected.delta),
      B: config.selectiveB ? back(selected.B) : selected.B,
      C: config.selectiveC ? back(selected.C) : selected.C,
      u: back(u),
      z: back(z),
      resets: ends,
    },
    { deltaSoftplus: true },
  );
  return add(forward, back(backward));
}

/** The parameters of the scan from the end as those of a direction. */
function fromTheEnd({ A_b_log, B_b, C_b, D_b, conv1d_b, dt_proj_b, x_proj_b }: MambaParameters): MambaDirection {
  return {
    A_log: own(A_b_log, "A_b_log"),
    D: own(D_b, "D_b"),
    conv1d: own(conv1d_b, "conv1d_b"),
    dt_proj: own(dt_proj_b, "dt_proj_b"),
    ...(x_proj_b && { x_proj: x_proj_b }),
    ...(B_b && { B: B_b }),
    ...(C_b && { C: C_b }),
  };
}

function own<T>(part: T | undefined, name: string): T {
  if (!part)
    throw new TypeError(
      `mamba: expected ${name} among the parameters for this config, got none; take them from init with the same config`,
    );
  return part;
}
