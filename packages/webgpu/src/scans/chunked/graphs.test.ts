import {
  add,
  broadcastTo,
  exp,
  expandDims,
  explain,
  linearScan,
  mul,
  neg,
  normal,
  key,
  foldIn,
  realize,
  reference,
  reshape,
  silu,
  sliceAxis,
  softplus,
  sub,
  sum,
  tensor,
  vjp,
  type Tensor,
} from "@seqmix/tensor";
import { afterAll, expect, test } from "vitest";
import { testDevice } from "../../testing/test-device.js";

const device = await testDevice({ poison: true });
const oracle = reference();
afterAll(async () => {
  await device.close();
  await oracle.close();
});

const [B, L, H, G, K, V] = [1, 70, 4, 2, 32, 32];
const draw = (name: string, shape: readonly number[]): Tensor => normal(foldIn(key(5), name), shape);

/** Mamba-2's operator with step sizes, skip and gate; keys and queries of a group are shared. */
function ssd({ x, dt, A, Bm, C, D, z, h0, resets }: Record<string, Tensor>): Tensor[] {
  const all = [B, L, G, H / G, K, V];
  const heads = (t: Tensor): Tensor => reshape(t, [...t.shape.slice(0, 2), G, H / G, ...t.shape.slice(3)]);
  const step = heads(softplus(dt!));
  const a = mul(exp(mul(step, neg(exp(reshape(A!, [G, H / G]))))), sub(1, reshape(resets!, [B, L, 1, 1])));
  const drive = mul(
    reshape(mul(heads(x!), expandDims(step, -1)), [B, L, G, H / G, 1, V]),
    reshape(Bm!, [B, L, G, 1, K, 1]),
  );
  const h = linearScan({
    a: broadcastTo(reshape(a, [B, L, G, H / G, 1, 1]), all),
    b: broadcastTo(drive, all),
    h0: h0!,
    axis: 1,
  });
  const y = reshape(sum(mul(h, reshape(C!, [B, L, G, 1, K, 1])), 4), [B, L, H, V]);
  return [mul(add(y, mul(x!, reshape(D!, [H, 1]))), silu(z!)), sliceAxis(h, 1, L - 1, L)];
}

test("Mamba-2's operator and its gradients run in chunks, across resets", async () => {
  const resets = tensor(
    Float32Array.from({ length: L }, (_, t) => Number(t === 20 || t === 64)),
    [B, L],
  );
  const given = {
    x: draw("x", [B, L, H, V]),
    dt: draw("dt", [B, L, H]),
    A: draw("A", [H]),
    Bm: draw("B", [B, L, G, K]),
    C: draw("C", [B, L, G, K]),
    D: draw("D", [H]),
    z: draw("z", [B, L, H, V]),
    h0: draw("h0", [B, G, H / G, K, V]),
  };
  const cotangents = [draw("dy", [B, L, H, V]), draw("dlast", [B, 1, G, H / G, K, V])];
  await realize([given, cotangents], { device: oracle });
  const host = async (tree: Tensor): Promise<Tensor> => tensor(await tree.data(), tree.shape);
  const onHost = Object.fromEntries(
    await Promise.all(Object.entries(given).map(async ([name, x]) => [name, await host(x)] as const)),
  );
  const seeds = await Promise.all(cotangents.map(host));
  const results = (): Tensor[] => {
    const [y, pullBack] = vjp((p: Record<string, Tensor>) => ssd({ ...p, resets }), onHost);
    return [...y, ...Object.values(pullBack(seeds))];
  };
  const text = await explain(results(), { device });
  expect(text.match(/chunked scan/g), text).toHaveLength(2);
  const [found, expected] = [await realize(results(), { device }), await realize(results(), { device: oracle })];
  for (const [k, want] of expected.entries()) {
    const [mine, theirs] = [[...(await found[k]!.data())], [...(await want.data())]];
    const largest = theirs.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const worst = theirs.reduce((most, x, i) => Math.max(most, Math.abs(mine[i]! - x)), 0);
    expect(worst / largest, `result ${k}`).toBeLessThan(2e-5);
  }
}, 120_000);
