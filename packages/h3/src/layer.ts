/** The layer where a kernel is shorter than the sequence, or one over the whole sequence: neither has a recurrent form. */
import { dssKernel, type LtiSystem } from "@seqmix/lti";
import { assertFields, assertSettings, pad, type Complex, type Tensor, type Tree } from "@seqmix/tensor";
import {
  continuousModel,
  diagonalModel,
  shiftModel,
  throughModels,
  type H3Config,
  type H3ModelConfig,
  type H3Parameters,
} from "./h3.js";

/** Settings of {@link h3Layer}: those of the mixer, and the discretization "dss", which is normalized over the sequence. */
export type H3LayerConfig = Omit<H3Config, "disc"> & {
  /** Discretization of the diagonal model. */
  readonly disc: H3Config["disc"] | "dss";
};

/** What {@link h3Layer} takes beside the input. */
export interface H3LayerOptions {
  /** Longest kernels, where they are shorter than the sequence (`l_max` of the released code): earlier inputs are not seen. */
  readonly longest?: number | undefined;
}

/** The layer on a whole sequence from rest, x [B L D] -> [B L D]. */
export function h3Layer(config: H3LayerConfig, params: H3Parameters, x: Tensor, options: H3LayerOptions = {}): Tensor {
  assertSettings("h3Layer", options, { longest: { from: 1, to: Infinity, whole: true } });
  assertFields("h3Layer", config, {
    disc: ["zoh", "bilinear", "dss"],
    headDim: { from: 1, whole: true },
    outputChannels: ["head-major", "entry-major"],
  });
  const { longest = Infinity } = options;
  const models = {
    shift: limited(shiftModel(params), longest),
    diagonal: limited(memoryModel(config, params), longest),
  };
  return throughModels(config, params, x, models)[0];
}

/** The diagonal model of the products; with "dss" its kernel alone means something. */
export function memoryModel(
  config: H3ModelConfig & Pick<H3LayerConfig, "disc">,
  params: H3Parameters,
): LtiSystem<Complex> {
  assertFields("memoryModel", config, { disc: ["zoh", "bilinear", "dss"] });
  const { disc } = config;
  if (disc !== "dss") return diagonalModel({ ...config, disc }, params);
  const system = continuousModel(config, params);
  return { ...diagonalModel({ ...config, disc: "zoh" }, params), kernel: (L) => dssKernel(system, L).K };
}

/** A system whose kernel has no more than so many taps. */
const limited = <S extends Tree>(system: LtiSystem<S>, longest: number): LtiSystem<S> => ({
  ...system,
  kernel: (L) => {
    const taps = Math.min(L, longest);
    return pad(system.kernel(taps), [0, 0, 0], [0, 0, L - taps]);
  },
});
