import { defineMixer, type MixerDefinition } from "@seqmix/mixer";
import {
  add,
  broadcastTo,
  concat,
  cpu,
  cumsum,
  div,
  expandDims,
  flip,
  foldIn,
  iota,
  cast,
  linearScan,
  mean,
  mul,
  normal,
  reference,
  reshape,
  sigmoid,
  sliceAxis,
  stopGradient,
  sub,
  sum,
  tensor,
  uniform,
  where,
  zeros,
  type Key,
  type Tensor,
} from "@seqmix/tensor";
import { describe, expect, test } from "vitest";
import { checkMixer } from "./index.js";

type Config = { readonly dModel: number; readonly chunkSize: number };
type Params = { readonly decay: Tensor; readonly gain: Tensor };
type State = { readonly h: Tensor };
type Average = MixerDefinition<Config, Params, State>;

function scan({ decay, gain }: Params, x: Tensor, state?: State, resets?: Tensor): readonly [Tensor, State] {
  const [B, L, D] = x.shape as [number, number, number];
  const a = broadcastTo(sigmoid(decay), x.shape);
  const kept = resets ? where(expandDims(resets, 2), 0, a) : a;
  const h = linearScan({ a: kept, b: mul(x, gain), h0: state?.h, axis: 1 });
  return [h, { h: L === 0 ? (state?.h ?? zeros([B, D])) : reshape(sliceAxis(h, 1, L - 1, L), [B, D]) }];
}

/** h_t = sigmoid(decay) h_(t-1) + gain x_t, y = h. */
const average: Average = defineMixer({
  id: "average",
  config: { dModel: 3, chunkSize: 4 } as Config,
  resets: true,
  state: "constant",
  init: ({ dModel }, key: Key): Params => ({
    decay: uniform(foldIn(key, 0), [dModel], -1, 1),
    gain: normal(foldIn(key, 1), [dModel]),
  }),
  initState: ({ dModel }, batch): State => ({ h: zeros([batch, dModel]) }),
  step(_, { decay, gain }, x, { h }) {
    const next = add(mul(h, sigmoid(decay)), mul(x, gain));
    return [next, { h: next }];
  },
  modes: {
    parallel: (_, params, x, state, resets) => scan(params, x, state, resets),
    chunked({ chunkSize, dModel }, params, x, state, resets) {
      const [B, L] = x.shape as [number, number];
      let carried = state ?? { h: zeros([B, dModel]) };
      const parts: Tensor[] = [zeros([B, 0, dModel])];
      for (let start = 0; start < L; start += chunkSize) {
        const end = Math.min(L, start + chunkSize);
        const flags = resets && sliceAxis(resets, 1, start, end);
        const [y, next] = scan(params, sliceAxis(x, 1, start, end), carried, flags);
        parts.push(y);
        carried = next;
      }
      return [concat(parts, 1), carried];
    },
  },
});

/** y_t = mean of x_0 .. x_t; the state keeps all inputs. */
const history = defineMixer({
  id: "history",
  config: { dModel: 2 },
  state: "grows",
  init: (): { readonly none: readonly Tensor[] } => ({ none: [] }),
  initState: ({ dModel }, batch): { readonly inputs: Tensor } => ({ inputs: zeros([batch, 0, dModel]) }),
  step(_, __, x, { inputs }) {
    const all = concat([inputs, expandDims(x, 1)], 1);
    return [mean(all, 1), { inputs: all }];
  },
  modes: {
    parallel(_, __, x, state) {
      const all = state ? concat([state.inputs, x], 1) : x;
      const [T, L] = [all.shape[1]!, x.shape[1]!];
      return [sliceAxis(div(cumsum(all, 1), cast(add(iota([T, 1], 0), 1), "f32")), 1, T - L, T), { inputs: all }];
    },
  },
});

describe.each([
  ["reference", reference()],
  ["cpu", cpu()],
] as const)("on %s", (_, device) => {
  test("a mixer that keeps the laws passes", async () => {
    const report = await checkMixer(average, average.config, device);
    expect(report).toMatchObject({ mixer: "average", modes: ["parallel", "chunked", "recurrent"] });
    expect(report.laws).toHaveLength(12);
  });

  test("so does one whose state grows, and one without a state", async () => {
    expect((await checkMixer(history, history.config, device)).modes).toEqual(["parallel", "recurrent"]);
    expect(
      (await checkMixer({ ...history, id: "stateless", state: "none" }, history.config, device)).laws,
    ).toHaveLength(7);
  });
});

/** The average with one thing wrong. */
const broken = (changes: Partial<Average>): Promise<unknown> =>
  checkMixer({ ...average, resets: false, ...changes }, average.config, reference());
const parallel = (
  change: (y: Tensor, after: State, params: Params, x: Tensor, state: State | undefined) => readonly [Tensor, State],
): Partial<Average> => ({
  modes: {
    parallel(_, params, x, state) {
      const [y, after] = scan(params, x, state);
      return change(y, after, params, x, state);
    },
  },
});
/** The same mistake in `step`, so that the modes agree. */
const both = (change: (params: Params, x: Tensor, state?: State) => readonly [Tensor, State]): Partial<Average> => ({
  modes: { parallel: (_, params, x, state) => change(params, x, state) },
  step(_, params, x, state) {
    const [y, after] = change(params, expandDims(x, 1), state);
    return [reshape(y, x.shape), after];
  },
});

test("one that sees both ways has other laws: no mode but the parallel one, no state, no causality", async () => {
  const both = defineMixer({
    ...average,
    id: "both ways",
    causal: () => false,
    resets: false,
    modes: {
      parallel(_, params: Params, x): readonly [Tensor, State] {
        const [forward, after] = scan(params, x);
        return [add(forward, flip(scan(params, flip(x, 1))[0], 1)), after];
      },
    },
  });
  const report = await checkMixer(both, both.config, reference());
  expect(report.modes).toEqual(["parallel"]);
  expect(report.laws).toHaveLength(6);
  await expect(checkMixer({ ...both, causal: () => true }, both.config, reference())).rejects.toThrow(
    /mixer both ways/,
  );
});

describe("a broken mixer is found:", () => {
  test("one that declares resets and ignores them", async () => {
    await expect(
      broken({ resets: true, modes: { parallel: (_, params, x, state) => scan(params, x, state) } }),
    ).rejects.toThrow(/packed sequences are each alone, .*\(parallel\), y: expected/);
  });

  test("randomness outside the key", async () => {
    let calls = 0;
    await expect(
      broken({ init: (_, key) => ({ decay: uniform(foldIn(key, calls++), [3]), gain: normal(key, [3]) }) }),
    ).rejects.toThrow(/the same key makes the same parameters, decay: expected/);
  });

  test("modes that differ in values", async () => {
    await expect(broken(parallel((y, after) => [mul(y, 1.001), after]))).rejects.toThrow(
      /all modes agree .*\(recurrent, from the start\), y: expected .* got/,
    );
  });

  test("modes that differ in the final state", async () => {
    await expect(broken(parallel((y, after) => [y, { h: add(after.h, 1e-3) }]))).rejects.toThrow(
      /\(recurrent, from the start\), state h: expected/,
    );
  });

  test("modes that differ in gradients only", async () => {
    await expect(
      broken(parallel((_, __, params, x, state) => scan({ ...params, decay: stopGradient(params.decay) }, x, state))),
    ).rejects.toThrow(/\(gradients, recurrent, from the start\), gradient of decay: expected 0/);
  });

  test("a mode that forgets the given state", async () => {
    await expect(broken(parallel((_, __, params, x) => scan(params, x)))).rejects.toThrow(
      /\(recurrent, from a carried state\), y/,
    );
  });

  test("outputs that see later inputs", async () => {
    const mirrored: Partial<Average> = {
      state: "none",
      modes: { parallel: (_, params, x) => [flip(scan(params, flip(x, 1))[0], 1), { h: zeros([x.shape[0]!, 3]) }] },
    };
    await expect(broken(mirrored)).rejects.toThrow(
      /no output depends on later inputs \(parallel, inputs from 1 on replaced\), y/,
    );
  });

  test("sequences of a batch that mix", async () => {
    const centered = both((params, x, state) => scan(params, sub(x, mean(x, 0, { keepDims: true })), state));
    await expect(broken(centered)).rejects.toThrow(
      /elements of a batch are independent \(parallel, sequence 0 alone\)/,
    );
  });

  test("a gradient that is cut in every mode", async () => {
    await expect(
      broken(both((params, x, state) => scan({ ...params, gain: stopGradient(params.gain) }, x, state))),
    ).rejects.toThrow(/gradients are finite differences.*for gradient of gain \[3\]/);
  });

  test("a state that grows though declared constant, and the other way round", async () => {
    await expect(checkMixer({ ...history, state: "constant" }, history.config, reference())).rejects.toThrow(
      /declared constant, but the state is inputs \[2,0,2\] at the start, inputs \[2,3,2\] after 3/,
    );
    await expect(broken({ state: "grows" })).rejects.toThrow(/declared to grow, but the state is h \[2,3\]/);
  });

  test("a tensor of host data made at every call", async () => {
    const leaking = both((params, x, state) =>
      scan({ ...params, gain: mul(params.gain, tensor([1, 1, 1])) }, x, state),
    );
    await expect(broken(leaking)).rejects.toThrow(
      /no buffer is left over \(parallel\): expected \d+ buffers on reference when all inputs and outputs are disposed, got \d+/,
    );
  });

  test("an output of another shape", async () => {
    await expect(broken(parallel((y, after) => [sum(y, 2), after]))).rejects.toThrow(
      /expected \[2,13,3\], got \[2,13\]/,
    );
  });
});
