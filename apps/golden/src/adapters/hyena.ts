import { hyena, hyenaFilter, type HyenaConfig, type HyenaParameters, type SineParameters } from "@seqmix/hyena";
import type { LinearParameters } from "@seqmix/nn";
import { sliceAxis, transpose } from "@seqmix/tensor";
import type { GoldenAdapter } from "@seqmix/testing";
import { maybe, parameterTree, real } from "../inputs.js";

/** The settings of the released code by our names. `normalized` and `bias` are taken and ignored by `standalone_hyena.py`, which the fixtures come from. */
const SETTINGS: Readonly<Record<string, keyof HyenaConfig>> = {
  d_model: "dModel",
  l_max: "lMax",
  order: "order",
  filter_order: "filterOrder",
  emb_dim: "embDim",
  w: "w",
  num_inner_mlps: "numInnerMlps",
  modulate: "modulate",
  shift: "shift",
  fast_decay_pct: "fastDecayPct",
  slow_decay_pct: "slowDecayPct",
  target: "target",
};

/** Checkpoints number the layers with the one sine between them; the case's tree has them as a list. */
type ListedParameters = Omit<HyenaParameters, "filter_fn"> & {
  readonly filter_fn: Omit<HyenaParameters["filter_fn"], "implicit_filter"> & {
    readonly implicit_filter: readonly (LinearParameters | SineParameters)[];
  };
};

/** Besides the layer: the kernels as [L D (order-1)]. */
export const hyenaAdapter: GoldenAdapter = {
  operator: "hyena",
  options: [
    ...Object.keys(SETTINGS),
    "batch",
    "L",
    "normalized",
    "bias",
    "lr",
    "lr_pos_emb",
    "fused_fft_conv",
    "wd",
    "modulation_lr",
    "dropout",
    "filter_dropout",
  ],
  supports: ({ options }) => ["dropout", "filter_dropout"].every((name) => !options[name]) || "dropout",
  run(inputs, { options }) {
    const { filter_fn, ...rest } = parameterTree(inputs) as ListedParameters;
    const deltas = maybe(inputs, "buffer.filter_fn.modulation.deltas");
    const t = maybe(inputs, "buffer.filter_fn.pos_emb.t");
    const params: HyenaParameters = {
      ...rest,
      filter_fn: {
        ...filter_fn,
        ...(deltas && { modulation: { deltas } }),
        pos_emb: { ...filter_fn.pos_emb, ...(t && { t }) },
        implicit_filter: Object.fromEntries(
          filter_fn.implicit_filter.map((layer, k) => [String(k < 2 ? k : 2 * (k - 1)), layer]),
        ),
      },
    };
    const given = Object.entries(SETTINGS).flatMap(([name, field]) =>
      options[name] === undefined ? [] : [[field, options[name]]],
    );
    const config: HyenaConfig = { ...hyena.config, ...(Object.fromEntries(given) as Partial<HyenaConfig>) };
    // Later positions are cut off, as in the released code.
    const whole = real(inputs, "u");
    const u = sliceAxis(whole, 1, 0, Math.min(whole.shape[1]!, config.lMax));
    return {
      out: hyena.modes.parallel(config, params, u)[0],
      filter: transpose(hyenaFilter(config, params.filter_fn, u.shape[1]!)),
    };
  },
};
