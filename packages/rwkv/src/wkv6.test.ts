import {
  add,
  concat,
  exp,
  expandDims,
  key,
  mul,
  neg,
  normal,
  reference,
  realize,
  reshape,
  sliceAxis,
  softplus,
  sum,
  tensor,
  zeros,
  type Tensor,
} from "@seqmix/tensor";
import { assertClose } from "@seqmix/testing";
import { describe, expect, test } from "vitest";
import { wkv6, type Wkv6Arguments } from "./wkv6.js";

const [B, L, H, K, V] = [2, 9, 2, 3, 4];
const device = reference();
const inputs = (length = L): Wkv6Arguments & { readonly h0: Tensor } => ({
  r: normal(key(1), [B, length, H, K]),
  k: normal(key(2), [B, length, H, K]),
  v: normal(key(3), [B, length, H, V]),
  logDecay: neg(softplus(normal(key(4), [B, length, H, K]))),
  u: normal(key(5), [H, K]),
  h0: normal(key(6), [B, H, K, V]),
});

/** The definition, position by position. */
function byPosition({ r, k, v, logDecay, u, h0 }: Wkv6Arguments): { readonly y: Tensor; readonly hT: Tensor } {
  const length = r.shape[1]!;
  let S = h0 ?? zeros([B, H, K, V]);
  const ys: Tensor[] = [];
  for (let t = 0; t < length; t++) {
    const at = (x: Tensor): Tensor => reshape(sliceAxis(x, 1, t, t + 1), [B, H, x.shape[3]!]);
    const kv = mul(expandDims(at(k), -1), expandDims(at(v), -2));
    ys.push(sum(mul(expandDims(at(r), -1), add(S, mul(expandDims(u, -1), kv))), 2));
    S = add(mul(expandDims(exp(at(logDecay)), -1), S), kv);
  }
  return {
    y: reshape(
      concat(
        ys.map((y) => expandDims(y, 1)),
        1,
      ),
      [B, length, H, V],
    ),
    hT: S,
  };
}

const values = async (x: Tensor): Promise<Float64Array> =>
  Float64Array.from(await (await realize(x, { device })).data());

describe("wkv6", () => {
  test.each([L, 1])("equals its definition, position by position, over %i positions", async (length) => {
    const given = inputs(length);
    const [found, expected] = [wkv6(given), byPosition(given)];
    assertClose("wkv6", await values(found.y), await values(expected.y), { relative: 1e-5, absolute: 1e-6 });
    assertClose("wkv6", await values(found.hT), await values(expected.hT), { relative: 1e-5, absolute: 1e-6 });
  });

  test("packed sequences are each alone", async () => {
    const given = inputs();
    const resets = tensor(
      Int32Array.from({ length: B * L }, (_, n) => Number(n % L === 4)),
      [B, L],
    );
    const packed = wkv6({ ...given, resets });
    const part = (from: number, to: number, h0?: Tensor) => {
      const cut = (x: Tensor): Tensor => sliceAxis(x, 1, from, to);
      const { r, k, v, logDecay, u } = given;
      return wkv6({ r: cut(r), k: cut(k), v: cut(v), logDecay: cut(logDecay), u, h0 });
    };
    const [first, second] = [part(0, 4, given.h0), part(4, L)];
    assertClose("wkv6", await values(packed.y), await values(concat([first.y, second.y], 1)), {
      relative: 1e-5,
      absolute: 1e-6,
    });
    assertClose("wkv6", await values(packed.hT), await values(second.hT), { relative: 1e-5, absolute: 1e-6 });
  });

  test("shapes that do not fit are one sentence", () => {
    const given = inputs();
    expect(() => wkv6({ ...given, u: normal(key(0), [K]) })).toThrow(/expected r, k, logDecay \[B L H K\]/);
  });
});
