// What is no number reaches the end of its own sequence, and no further.
import {
  cpu,
  key,
  normal,
  realize,
  reference,
  sliceAxis,
  softplus,
  sub,
  tensor,
  where,
  type Tensor,
} from "@seqmix/tensor";
import { expect, test } from "vitest";
import { structuredMaskedAttention } from "./index.js";

const [B, L, H, K, V] = [2, 11, 2, 3, 2];
const AT = 5;
const devices = [reference(), cpu({ threads: 1 })];
const resets = () =>
  tensor(
    Float32Array.from({ length: B * L }, (_, i) => Number(i % L === AT)),
    [B, L],
  );
/** A number in the place of one position, in all channels. */
const spoiled = (x: Tensor, position: number, value: number): Tensor => {
  const here = tensor(
    Uint8Array.from({ length: L }, (_, t) => Number(t === position)),
    [1, L, ...x.shape.slice(2).map(() => 1)],
  );
  return where(here, value, x);
};

const wrongs = [
  ["q", NaN],
  ["k", Infinity],
  ["v", -Infinity],
  ["v", NaN],
  ["logDecay", NaN],
  ["h0", Infinity],
] as const;

const inputs = () => ({
  q: normal(key(1), [B, L, H, K]),
  k: normal(key(2), [B, L, H, K]),
  v: normal(key(3), [B, L, H, V]),
  logDecay: sub(0, softplus(normal(key(4), [B, L, H]))),
});

test.each(["chunked", "quadratic", "recurrent"] as const)("%s", async (algorithm) => {
  const options = { algorithm, ...(algorithm === "chunked" && { chunkSize: 4 }) };
  for (const device of devices)
    for (const [name, value] of wrongs) {
      const given = inputs();
      const alone = structuredMaskedAttention(
        {
          q: sliceAxis(given.q, 1, AT, L),
          k: sliceAxis(given.k, 1, AT, L),
          v: sliceAxis(given.v, 1, AT, L),
          logDecay: sliceAxis(given.logDecay, 1, AT, L),
        },
        options,
      );
      const wrong =
        name === "h0"
          ? { ...given, h0: tensor(new Float32Array(B * H * K * V).fill(value), [B, H, K, V]) }
          : { ...given, [name]: spoiled(given[name], AT - 2, value) };
      const { y, hT } = structuredMaskedAttention({ ...wrong, resets: resets() }, options);
      const made = await realize(
        { first: sliceAxis(y, 1, AT - 2, AT - 1), y: sliceAxis(y, 1, AT, L), hT, alone: { ...alone } },
        { device },
      );
      const { first, ...own } = made;
      expect([...(await first.data())].some((number) => !Number.isFinite(number))).toBe(true);
      for (const [actual, expected] of [
        [own.y, own.alone.y],
        [own.hT, own.alone.hT],
      ] as const) {
        const wanted = await expected.data();
        (await actual.data()).forEach((number, i) => expect(number).toBeCloseTo(wanted[i]!, 5));
      }
    }
});
