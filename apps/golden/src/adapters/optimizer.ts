import { adamw, clipByGlobalNorm, sgd, type Optimizer } from "@seqmix/optim";
import type { Tensor } from "@seqmix/tensor";
import type { GoldenAdapter, GoldenCase, GoldenValue } from "@seqmix/testing";
import { count, real } from "../inputs.js";

/** Updates of one parameter by given gradients, each clipped first; p1 .. pn after each. */
export const optimizerAdapter: GoldenAdapter = {
  operator: "optimizer",
  options: ["steps", "clip", "lr", "betas", "eps", "weightDecay", "momentum", "nesterov", "seed"],
  run(inputs, golden) {
    const { options } = golden;
    const optimizer = optimizerOf(golden);
    const out: Record<string, GoldenValue> = {};
    let p = real(inputs, "p");
    let state = optimizer.init({ p });
    for (let t = 0; t < count(options, "steps"); t++) {
      const given: { p: Tensor } = { p: real(inputs, `g${t}`) };
      const clip = options["clip"];
      const gradients = typeof clip === "number" ? clipByGlobalNorm(given, clip)[0] : given;
      const [next, after] = optimizer.update(gradients, state, { p });
      p = next.p;
      state = after;
      out[`p${t + 1}`] = p;
    }
    return out;
  },
};

/** SGD has a momentum, AdamW has betas or neither. */
function optimizerOf({ name, options }: GoldenCase): Optimizer {
  const learningRate = count(options, "lr");
  const weightDecay = Number(options["weightDecay"] ?? 0);
  if ("momentum" in options || name.startsWith("sgd"))
    return sgd({
      learningRate,
      weightDecay,
      momentum: Number(options["momentum"] ?? 0),
      nesterov: options["nesterov"] === true,
    });
  return adamw({
    learningRate,
    weightDecay,
    ...(Array.isArray(options["betas"]) && { betas: options["betas"] as unknown as [number, number] }),
    ...(typeof options["eps"] === "number" && { eps: options["eps"] }),
  });
}
