import {
  add,
  broadcastTo,
  cast,
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

test("gated linear attention of f16 and its gradients run in chunks, decays computed from gates, from either end", async () => {
  const [steps, heads] = [131, 2];
  const given = Object.fromEntries(
    ["q", "k", "v", "gate"].map((name) => [name, draw(name, [B, steps, heads, K])] as const),
  );
  const dy = draw("dy", [B, steps, heads, V]);
  const slower = tensor(Float32Array.of(1 / 16, 1 / 2), [heads, 1]);
  const gla = ({ q, k, v, gate }: Record<string, Tensor>, reverse: boolean): Tensor => {
    const all = [B, steps, heads, K, V];
    // constants of all gates, or of each head
    const decay = exp(mul(softplus(neg(cast(gate!, "f32"))), reverse ? -1 / 16 : neg(slower)));
    const drive = mul(
      reshape(cast(k!, "f32"), [B, steps, heads, K, 1]),
      reshape(cast(v!, "f32"), [B, steps, heads, 1, V]),
    );
    const h = linearScan({
      a: broadcastTo(reshape(decay, [B, steps, heads, K, 1]), all),
      b: broadcastTo(drive, all),
      axis: 1,
      reverse,
    });
    return sum(mul(h, reshape(cast(q!, "f32"), [B, steps, heads, K, 1])), 3);
  };
  await realize([given, dy], { device: oracle });
  const rounded = async (x: Tensor): Promise<Tensor> => cast(tensor(await x.data(), x.shape), "f16");
  const halves = Object.fromEntries(
    await Promise.all(Object.entries(given).map(async ([name, x]) => [name, await rounded(x)] as const)),
  );
  await realize(halves, { device: oracle });
  const host = Object.fromEntries(
    await Promise.all(
      Object.entries(halves).map(async ([name, x]) => [name, tensor(await x.data(), x.shape, "f16")] as const),
    ),
  );
  const seed = tensor(await dy.data(), dy.shape);
  for (const reverse of [false, true]) {
    const results = (): Tensor[] => {
      const [y, pullBack] = vjp((x: Record<string, Tensor>) => gla(x, reverse), host);
      return [y, ...Object.values(pullBack(seed))];
    };
    const text = await explain(results(), { device });
    expect(text.match(/chunked scan/g), text).toHaveLength(2);
    const [found, expected] = [await realize(results(), { device }), await realize(results(), { device: oracle })];
    for (const [k, want] of expected.entries()) {
      const [mine, theirs] = [[...(await found[k]!.data())], [...(await want.data())]];
      const largest = theirs.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const worst = theirs.reduce((most, x, i) => Math.max(most, Math.abs(mine[i]! - x)), 0);
      // gradients of f16 are rounded to it
      expect(worst / largest, `result ${k}, reverse ${reverse}`).toBeLessThan(k === 0 ? 2e-5 : 1e-3);
    }
  }
}, 120_000);
