/** Diagonal state spaces (Gupta, Gu, Berant, Diagonal State Spaces are as Effective as Structured State Spaces, 2022; released as `standalone/dss.py`). */
import { dssEigenvalues } from "@seqmix/hippo";
import { diagonalSystem, dssKernel, type LtiSystem } from "@seqmix/lti";
import { defineMixer } from "@seqmix/mixer";
import { linear, normalInit, uniformInit } from "@seqmix/nn";
import {
  add,
  assertFields,
  assertSettings,
  broadcastTo,
  complexMul,
  complexOf,
  div,
  exp,
  expandDims,
  foldIn,
  log,
  maximum,
  minimum,
  mul,
  neg,
  normal,
  ones,
  reshape,
  sliceAxis,
  square,
  stack,
  tensor,
  transpose,
  uniform,
  type Complex,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { activated, activations, type Activation } from "./activations.js";
import { applyKernel, applyPackedKernel } from "./s4.js";

/** How Lambda is stored and what scales W, by the published names. */
export const dssVersions = ["softmax", "exp", "exp-re-im", "exp-no-scale", "clip", "clip-no-scale"] as const;

/** One of {@link dssVersions}. */
export type DssVersion = (typeof dssVersions)[number];

/** Trained tensors of a kernel under the published keys; every mode counts once. */
export type DssKernelParameters = {
  /** Logarithms of step sizes [H], or [H 2] with one for the real and one for the imaginary parts of Lambda. */
  readonly log_dt: Tensor;
  /** Eigenvalues [N 2] of "softmax" and "clip". */
  readonly Lambda?: Tensor;
  /** Logarithms of minus their real parts [N], of the "exp" versions. */
  readonly Lambda_log_neg_re?: Tensor;
  /** Imaginary parts [N]. */
  readonly Lambda_im?: Tensor;
  /** Logarithms of the imaginary parts [N], of "exp-re-im". */
  readonly Lambda_log_im?: Tensor;
  /** Output maps [M H N 2]. */
  readonly W: Tensor;
};

/** Settings of {@link dssKernelOf}. */
export interface DssKernelOptions {
  /** See {@link DssVersion}. */
  readonly version: DssVersion;
  /** Bounds 1/x of "softmax" as conj(x) / (|x|^2 + epsilon), and that of 1/Lambda as conj(Lambda) / max(|Lambda|^2, epsilon); 1e-7 by default. */
  readonly epsilon?: number;
  /** Largest real part in the "clip" versions; 1e-4 by default. */
  readonly maxRealLambda?: number;
}

function assertKernelOptions(name: string, options: DssKernelOptions): void {
  assertSettings(name, options, { version: "own", epsilon: { from: 0 }, maxRealLambda: {} });
  assertFields(name, options, { version: dssVersions });
}

/** The kernel [M H L] of the trained tensors. The "softmax" version normalises over the L positions and has no recurrence. */
export function dssKernelOf(parameters: DssKernelParameters, L: number, options: DssKernelOptions): Tensor {
  assertKernelOptions("dssKernelOf", options);
  if (options.version !== "softmax") return dssSystem(parameters, options).kernel(L);
  const { A, C, dtA } = continuous(parameters, options);
  const B = complexOf(ones(A.re.shape));
  return dssKernel({ dt: dtA.steps, A, B, C }, L, { epsilon: options.epsilon ?? 1e-7 }).K;
}

/** All views of the versions other than "softmax": h_t = e^(dt Lambda) h_(t-1) + w u_t, y_t = Re(W h_t), w = (e^(dt Lambda) - 1)/Lambda or 1. */
export function dssSystem(parameters: DssKernelParameters, options: DssKernelOptions): LtiSystem<Complex> {
  assertKernelOptions("dssSystem", options);
  const { version, epsilon = 1e-7 } = options;
  if (version === "softmax")
    throw new RangeError('dssSystem: expected a version with a recurrence, got "softmax"; use dssKernelOf');
  const { A, C, dtA } = continuous(parameters, options);
  const one = complexOf(ones(A.re.shape));
  const dt = ones([A.re.shape[0]!, 1]);
  if (version.endsWith("no-scale"))
    return diagonalSystem({ dt, A: dtA.product, B: one, C }, { rule: "dirac", conjugatePairs: false });
  // (e^z - 1)/z times z/Lambda.
  const size = maximum(add(square(A.re), square(A.im)), epsilon);
  const inverse = { re: div(A.re, size), im: neg(div(A.im, size)) };
  return diagonalSystem(
    { dt, A: dtA.product, B: complexMul(dtA.product, inverse), C },
    { rule: "zoh", conjugatePairs: false },
  );
}

interface Continuous {
  /** Lambda [H N]. */
  readonly A: Complex;
  readonly C: Complex;
  /** Step sizes of both parts [H N], and their products with Lambda. */
  readonly dtA: { readonly steps: Complex; readonly product: Complex };
}

function continuous(parameters: DssKernelParameters, { version, maxRealLambda = 1e-4 }: DssKernelOptions): Continuous {
  const { log_dt, W } = parameters;
  const [, H, N] = W.shape as [number, number, number];
  const part = (x: Tensor, k: number): Tensor => reshape(sliceAxis(x, -1, k, k + 1), x.shape.slice(0, -1));
  const lambda = eigenvalues(parameters, version, maxRealLambda, part);
  const steps = exp(log_dt);
  const whole = (x: Tensor): Tensor => broadcastTo(x, [H, N]);
  const step = (k: number): Tensor => whole(expandDims(steps.shape.length === 1 ? steps : part(steps, k), 1));
  const A = { re: whole(lambda.re), im: whole(lambda.im) };
  const both = { re: step(0), im: step(1) };
  return {
    A,
    C: { re: part(W, 0), im: part(W, 1) },
    dtA: { steps: both, product: { re: mul(A.re, both.re), im: mul(A.im, both.im) } },
  };
}

/** Lambda [N]. */
function eigenvalues(
  { Lambda, Lambda_log_neg_re, Lambda_im, Lambda_log_im }: DssKernelParameters,
  version: DssVersion,
  maxRealLambda: number,
  part: (x: Tensor, k: number) => Tensor,
): Complex {
  if (version.startsWith("exp")) {
    const im = version === "exp-re-im" ? Lambda_log_im && exp(Lambda_log_im) : Lambda_im;
    if (!Lambda_log_neg_re || !im)
      throw new TypeError(`dss: expected Lambda_log_neg_re and imaginary parts with version "${version}", got none`);
    return { re: neg(exp(Lambda_log_neg_re)), im };
  }
  if (!Lambda) throw new TypeError(`dss: expected Lambda [N 2] with version "${version}", got none`);
  const re = part(Lambda, 0);
  return { re: version === "softmax" ? re : minimum(re, maxRealLambda), im: part(Lambda, 1) };
}

/** Settings of {@link dss}. */
export type DssConfig = {
  /** Channels D. */
  readonly dModel: number;
  /** N, modes of the system that all channels share. */
  readonly dState: number;
  /** M, outputs of each channel. */
  readonly channels: number;
  /** See {@link DssVersion}. */
  readonly version: DssVersion;
  /** One step size for the real parts of Lambda and one for the imaginary parts. */
  readonly sepDtReIm: boolean;
  /** Start of Lambda: the normal part of HiPPO-LegS, or random numbers. */
  readonly lambdaInit: "hippo_skew_pos_imag" | "randn";
  /** Least and largest initial step size, log-uniform between them. */
  readonly dtMin: number;
  /** See `dtMin`. */
  readonly dtMax: number;
  /** See {@link DssKernelOptions}. */
  readonly epsilon: number;
  /** See {@link DssKernelOptions}. */
  readonly maxRealLambda: number;
  /** A second kernel looks ahead, from the next position on. */
  readonly bidirectional: boolean;
  /** After the convolution. */
  readonly activation: Activation;
  /** A second set of outputs under this function multiplies the first; "absent" for none. */
  readonly hyperAct: Activation | "absent";
  /** After the linear map, which "glu" gives twice as many outputs. */
  readonly postact: Activation;
  /** Longest kernel; 0 for one as long as the sequence. */
  readonly maxKernelLength: number;
};

/** Parameters under the published keys. */
export type DssParameters = {
  /** Skips from input to outputs [M D]. */
  readonly D: Tensor;
  /** What the kernel is made of. */
  readonly kernel: DssKernelParameters;
  /** The linear map: [outputs M D] and [outputs 1]. */
  readonly output_linear: readonly [
    {
      /** [outputs inputs]. */
      readonly weight: Tensor;
      /** [outputs 1]. */
      readonly bias: Tensor;
    },
  ];
};

/**
 * The DSS layer: linear(activation(conv(K, x) + D x)). Its kernel is one over a whole sequence, so there is no recurrent
 * form; {@link dssSystem} has one for the versions that allow it.
 */
export const dss = defineMixer({
  id: "dss",
  config: {
    dModel: 64,
    dState: 64,
    channels: 1,
    version: "softmax",
    sepDtReIm: true,
    lambdaInit: "hippo_skew_pos_imag",
    dtMin: 0.001,
    dtMax: 0.1,
    epsilon: 1e-7,
    maxRealLambda: 1e-4,
    bidirectional: false,
    activation: "gelu",
    hyperAct: "absent",
    postact: "none",
    maxKernelLength: 0,
  } as DssConfig,
  choices: {
    version: dssVersions,
    lambdaInit: ["hippo_skew_pos_imag", "randn"],
    activation: activations.filter((name) => name !== "glu"),
    hyperAct: ["absent", ...activations.filter((name) => name !== "glu")],
    postact: activations,
  },
  ranges: {
    dState: [1, Infinity, "whole"],
    channels: [1, Infinity, "whole"],
    maxKernelLength: [0, Infinity, "whole"],
    epsilon: [0, Infinity],
  },
  samples: {
    softmax: { dModel: 2, dState: 3, dtMin: 0.05, dtMax: 0.5, postact: "glu" },
    exp: {
      dModel: 2,
      dState: 3,
      dtMin: 0.05,
      dtMax: 0.5,
      version: "exp",
      sepDtReIm: false,
      channels: 2,
      hyperAct: "sigmoid",
      maxKernelLength: 4,
    },
    bidirectional: { dModel: 2, dState: 3, dtMin: 0.05, dtMax: 0.5, version: "clip", bidirectional: true },
  },
  parameterGroups: (lr) => [{ match: /(^|\.)kernel\./, weightDecay: 0, learningRateScale: Math.min(1, 1e-3 / lr) }],
  causal: ({ bidirectional }) => !bidirectional,
  // The kernel of "softmax" depends on the length of its own sequence, which is data where sequences are packed.
  resets: ({ version }) => version !== "softmax",
  state: "none",

  init(config, key: Key): DssParameters {
    const { dModel: D, channels, postact, hyperAct, bidirectional } = config;
    const outputs = channels * (hyperAct === "absent" ? 1 : 2);
    const width = channels * D;
    const bound = uniformInit(1 / Math.sqrt(width));
    const results = postact === "glu" ? 2 * D : D;
    return {
      D: normal(foldIn(key, "D"), [outputs, D]),
      kernel: initialKernel(config, bidirectional ? 2 * outputs : outputs, foldIn(key, "kernel")),
      output_linear: [
        { weight: bound(foldIn(key, "weight"), [results, width]), bias: bound(foldIn(key, "bias"), [results, 1]) },
      ],
    };
  },

  initState: () => ({}),

  modes: {
    parallel: (config, params, x, _, resets): readonly [Tensor, Record<string, never>] =>
      x.shape[1] === 0 ? [x, {}] : [dssLayer(config, params, x, resets), {}],
  },
});

/**
 * The layer on x [B L D] -> [B L D].
 * @param resets bool [B L], true at the first position of each of several sequences packed into one.
 * @throws RangeError for both directions with a kernel shorter than the sequence, and for resets with the "softmax" version.
 */
export function dssLayer(
  config: Omit<DssConfig, "dModel" | "dState">,
  params: DssParameters,
  x: Tensor,
  resets?: Tensor,
): Tensor {
  const L = x.shape[1]!;
  assertFields("dssLayer", config, {
    channels: { from: 1, whole: true },
    maxKernelLength: { from: 0, whole: true },
    bidirectional: "flag",
    hyperAct: ["absent", ...activations],
    activation: activations,
    postact: activations,
  });
  const { maxKernelLength, bidirectional, hyperAct, activation, postact } = config;
  const { version, epsilon, maxRealLambda } = config;
  const length = maxKernelLength > 0 ? Math.min(maxKernelLength, L) : L;
  if (bidirectional && length < L)
    throw new RangeError(
      `dss: expected a kernel of the sequence's length ${L} with both directions, got at most ${length}; raise maxKernelLength`,
    );
  if (resets && version === "softmax")
    throw new RangeError(
      'dss: expected no resets with version "softmax", whose kernel depends on the length of each sequence; run each alone, or choose another version',
    );
  const kernel = dssKernelOf(params.kernel, length, { version, epsilon, maxRealLambda });
  const y = resets
    ? applyPackedKernel(kernel, transpose(x), bidirectional, resets)
    : applyKernel(kernel, transpose(x), bidirectional);
  // [B L M D].
  const skipped = add(transpose(y, [0, 3, 1, 2]), mul(expandDims(x, 2), params.D));
  const M = params.D.shape[0]!;
  const half = (k: number): Tensor => sliceAxis(skipped, 2, (k * M) / 2, ((k + 1) * M) / 2);
  const gated = hyperAct === "absent" ? skipped : mul(activated(hyperAct, half(1)), half(0));
  const flat = reshape(gated, [...x.shape.slice(0, -1), gated.shape[2]! * gated.shape[3]!]);
  const [{ weight, bias }] = params.output_linear;
  return activated(postact, linear({ weight, bias: reshape(bias, [bias.size]) }, activated(activation, flat)));
}

function initialKernel(config: DssConfig, outputs: number, key: Key): DssKernelParameters {
  const { dModel: H, dState: N, version, sepDtReIm, lambdaInit, dtMin, dtMax } = config;
  const drawn = (name: string): Tensor => normalInit(Math.SQRT1_2)(foldIn(key, name), [N]);
  const random = lambdaInit === "randn";
  const start = random ? undefined : dssEigenvalues(N);
  const lambda = {
    // The "exp" versions need negative real parts.
    re: start ? tensor(start.re) : version.startsWith("exp") ? neg(square(drawn("re"))) : drawn("re"),
    im: start ? tensor(start.im) : version === "exp-re-im" ? square(drawn("im")) : drawn("im"),
  };
  const log_dt = uniform(foldIn(key, "log_dt"), [H], Math.log(dtMin), Math.log(dtMax));
  const shared = {
    log_dt: sepDtReIm ? mul(expandDims(log_dt, 1), ones([2])) : log_dt,
    W: normal(foldIn(key, "W"), [outputs, H, N, 2]),
  };
  if (!version.startsWith("exp")) return { ...shared, Lambda: stackLast(lambda) };
  const Lambda_log_neg_re = log(neg(lambda.re));
  return version === "exp-re-im"
    ? { ...shared, Lambda_log_neg_re, Lambda_log_im: log(lambda.im) }
    : { ...shared, Lambda_log_neg_re, Lambda_im: lambda.im };
}

const stackLast = ({ re, im }: Complex): Tensor => stack([re, im], 1);
