// The planner knows the duality: the operator's recurrence, plain tensor code, runs in chunks of matrix products.
import {
  exp,
  explain,
  grad,
  key,
  mul,
  neg,
  normal,
  ones,
  realize,
  softplus,
  sum,
  tensor,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { ssd, structuredMaskedAttention, type StructuredMaskedAttentionArguments } from "./index.js";

const [B, L, H, K, V] = [1, 512, 4, 64, 64];
const given = {
  q: normal(key(1), [B, L, 2, K]),
  k: normal(key(2), [B, L, 2, K]),
  v: normal(key(3), [B, L, H, V]),
  h0: normal(key(4), [B, H, K, V]),
  resets: tensor(
    Float32Array.from({ length: L }, (_, t) => Number(t % 100 === 0)),
    [B, L],
  ),
};
const decays: Readonly<Record<string, Tensor | undefined>> = {
  none: undefined,
  "constant decay": neg(softplus(normal(key(5), [H]))),
  "scalar decay": neg(softplus(normal(key(6), [B, L, H]))),
};
beforeAll(async () => {
  await realize([...Object.values(given), ...Object.values(decays).filter((x) => x !== undefined)]);
});

describe("the recurrent algorithm runs in chunks", () => {
  test.each(Object.keys(decays))("%s", async (name) => {
    const { q, k, v } = given;
    const bare = structuredMaskedAttention({ q, k, v, logDecay: decays[name] });
    expect(await explain(bare.y)).toMatch(/chunked scan/);
    const whole = structuredMaskedAttention({ ...given, logDecay: decays[name] });
    expect(await explain([whole.y, whole.hT]), "with resets and states").toMatch(/chunked scan/);
  });

  test("and so does its gradient", async () => {
    const { q, k, v } = given;
    const loss = (x: StructuredMaskedAttentionArguments): Tensor => sum(mul(structuredMaskedAttention(x).y, v));
    const all = grad(loss as never)({ q, k, v, logDecay: decays["scalar decay"]! } as never) as Readonly<
      Record<string, Tensor>
    >;
    expect(await explain(Object.values(all))).toMatch(/gradient.*chunked scan/);
  });

  test("and so does the operator of Mamba-2, with groups, skip and gate", async () => {
    const { y } = ssd(
      {
        x: given.v,
        dt: normal(key(7), [B, L, H]),
        A: neg(exp(zeros([H]))),
        B: given.k,
        C: given.q,
        D: ones([H]),
        z: normal(key(8), [B, L, H, V]),
        dtBias: zeros([H]),
        resets: given.resets,
      },
      { dtSoftplus: true, dtLimit: [0.001, 0.1] },
    );
    expect(await explain(y)).toMatch(/chunked scan/);
  });
});
