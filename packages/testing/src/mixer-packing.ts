/** The laws of sequences that share a row with others, or with padding. */
import { runPadded, type Mode } from "@seqmix/mixer";
import {
  concat,
  expandDims,
  grad,
  leavesOf,
  pad,
  replaceLeaves,
  sliceAxis,
  tensor,
  where,
  type Device,
  type Tensor,
  type Tree,
} from "@seqmix/tensor";
import { evaluate } from "./host-values.js";
import {
  compare,
  gradientNamesOf,
  inputsOf,
  namesOf,
  own,
  paramsOf,
  run,
  toleranceOn,
  weighted,
  type Subject,
} from "./mixer-subject.js";

/** The ends of sequences packed into one of length L: lengths 1 and 2, and longer ones on both sides. */
const packedEnds = (L: number): number[] =>
  [...new Set([L >> 1, (L >> 1) + 1, (L >> 1) + 3, L])].filter((end) => end <= L);

/** Output, state after the last sequence, and gradients: all sequences in one, and each alone. */
export async function packing(s: Subject, law: string): Promise<void> {
  const L = s.length;
  const ends = packedEnds(L);
  const starts = [0, ...ends.slice(0, -1)];
  const flags = Uint8Array.from({ length: s.batch * L }, (_, i) => (starts.includes(i % L) ? 1 : 0));
  const together = (mode: Mode, given: readonly Tensor[]): readonly Tensor[] =>
    carriedOn(
      s,
      given,
      run(s, paramsOf(s, given), given.at(-1)!, undefined, mode, tensor(flags.slice(), [s.batch, L])),
    );
  const alone = (given: readonly Tensor[]): readonly Tensor[] => {
    const parts = ends.map((end, k) =>
      run(s, paramsOf(s, given), sliceAxis(given.at(-1)!, 1, starts[k]!, end), undefined, "parallel"),
    );
    // A reset comes before its element, so the state at the end is that of the last sequence.
    const all = concat(
      parts.map(([y]) => y!),
      1,
    );
    return carriedOn(s, given, [all, ...parts.at(-1)!.slice(1)]);
  };
  await sameAsAlone(s, law, { alone, together, modes: s.modes, devices: [s.oracle, s.device], slopes: true });
}

/** Rows of different lengths filled up, on the left, on the right, and on both sides; one may be empty. */
export async function padding(s: Subject, law: string): Promise<void> {
  const { length: L, batch: B } = s;
  const [left, right] = [Math.min(2, L - 1), Math.min(3, L - 1)];
  const stretches: readonly (readonly (readonly [number, number])[])[] = [
    [
      [left, L],
      [0, L - right],
    ],
    [
      [Math.min(1, L - 1), Math.max(1, L - 1)],
      [0, 0],
    ],
  ];
  for (const [k, rows] of stretches.entries()) {
    const rowAt = (b: number): readonly [number, number] => rows[b % rows.length]!;
    const mask = Uint8Array.from({ length: B * L }, (_, i) => {
      const [start, end] = rowAt(Math.floor(i / L));
      return Number(i % L >= start && i % L < end);
    });
    const together = (mode: Mode, given: readonly Tensor[]): readonly Tensor[] => {
      const flags = tensor(mask.slice(), [B, L]);
      // No number in the padding, which nothing may come of.
      const x = where(expandDims(flags, 2), given.at(-1)!, NaN);
      const [y, state] = runPadded(s.mixer, s.config, paramsOf(s, given), x, flags, { mode });
      return carriedOn(s, given, [y, ...(s.hasState ? leavesOf(state) : [])]);
    };
    const alone = (given: readonly Tensor[]): readonly Tensor[] => {
      const parts = Array.from({ length: B }, (_, b) => {
        const [start, end] = rowAt(b);
        const row = sliceAxis(given.at(-1)!, 0, b, b + 1);
        const [y, ...state] = run(s, paramsOf(s, given), sliceAxis(row, 1, start, end), undefined, "parallel");
        const next = sliceAxis(row, 1, 0, Math.min(2, L));
        return [pad(y!, [0, start, 0], [0, L - end, 0]), ...continued(s, given, state, next, 1)];
      });
      return parts[0]!.map((_, leaf) =>
        concat(
          parts.map((part) => part[leaf]!),
          0,
        ),
      );
    };
    const devices = [s.oracle, s.device];
    await sameAsAlone(s, `${law}, ${k === 0 ? "left or right" : "both sides"}`, {
      alone,
      together,
      modes: ["parallel"],
      devices,
      slopes: k === 0,
    });
  }
}

/**
 * Rows of different lengths filled up that go on from a state, each as if it went on alone. In float64: what runs are the
 * mixer's modes, which other laws hold to it on the device.
 */
export async function paddingFromState(s: Subject, law: string): Promise<void> {
  const { length: L, batch: B } = s;
  const rowAt = (b: number): readonly [number, number] =>
    b % 2 === 0 ? [Math.min(1, L - 1), L] : [0, Math.max(1, L - 2)];
  const mask = Uint8Array.from({ length: B * L }, (_, i) => {
    const [start, end] = rowAt(Math.floor(i / L));
    return Number(i % L >= start && i % L < end);
  });
  /** The state after the first two elements of all rows. */
  const carried = (given: readonly Tensor[]): readonly Tensor[] =>
    run(s, paramsOf(s, given), sliceAxis(given.at(-1)!, 1, 0, Math.min(2, L)), undefined, "parallel").slice(1);
  const treeOf = (state: readonly Tensor[], batch: number): Tree =>
    replaceLeaves(s.mixer.initState(s.config, batch), state);
  const together = (mode: Mode, given: readonly Tensor[]): readonly Tensor[] => {
    const flags = tensor(mask.slice(), [B, L]);
    const x = where(expandDims(flags, 2), given.at(-1)!, NaN);
    const state = treeOf(carried(given), B);
    const [y, next] = runPadded(s.mixer, s.config, paramsOf(s, given), x, flags, { mode, state });
    return [y, ...leavesOf(next)];
  };
  const alone = (given: readonly Tensor[]): readonly Tensor[] => {
    const state = carried(given);
    const parts = Array.from({ length: B }, (_, b) => {
      const [start, end] = rowAt(b);
      const row = sliceAxis(given.at(-1)!, 0, b, b + 1);
      const before = treeOf(
        state.map((leaf) => sliceAxis(leaf, 0, b, b + 1)),
        1,
      );
      const [y, ...after] = run(s, paramsOf(s, given), sliceAxis(row, 1, start, end), before, "parallel");
      return [pad(y!, [0, start, 0], [0, L - end, 0]), ...after];
    });
    return parts[0]!.map((_, leaf) =>
      concat(
        parts.map((part) => part[leaf]!),
        0,
      ),
    );
  };
  await sameAsAlone(s, law, { alone, together, modes: ["parallel"], devices: [s.oracle], slopes: true });
}

/** Two ways to the same outputs, each from parameters and input. */
interface Comparison {
  alone(given: readonly Tensor[]): readonly Tensor[];
  together(mode: Mode, given: readonly Tensor[]): readonly Tensor[];
  readonly modes: readonly Mode[];
  readonly devices: readonly Device[];
  /** Whether gradients are compared, too. */
  readonly slopes: boolean;
}

async function sameAsAlone(
  s: Subject,
  law: string,
  { alone, together, modes, devices, slopes: compareSlopes }: Comparison,
): Promise<void> {
  const names = gradientNamesOf(s, false);
  const gradients = (outputs: (given: readonly Tensor[]) => readonly Tensor[]) => (): Tensor[] =>
    own(leavesOf(grad((given: readonly Tensor[]) => weighted(outputs(given)))(inputsOf(s))));
  const values = await evaluate(s.oracle, () => own(alone(inputsOf(s))));
  const slopes = compareSlopes ? await evaluate(s.oracle, gradients(alone)) : [];
  const outputs = s.mixer.state === "grows" ? ["y", "y after it"] : namesOf(s);
  for (const mode of modes)
    for (const device of devices) {
      const tolerance = toleranceOn(s, device);
      const actual = await evaluate(device, () => own(together(mode, inputsOf(s))));
      compare(`${law} (${mode})`, actual, values, outputs, tolerance.values);
      if (!compareSlopes) continue;
      const slope = gradients((given) => together(mode, given));
      compare(
        `${law} (${mode}, gradients)`,
        await evaluate(device, slope),
        slopes,
        names,
        tolerance.gradients,
        tolerance.cancelling,
      );
    }
}

/** Output and state; of a state that grows, which may hold what is forgotten, the outputs that come of it instead. */
function carriedOn(s: Subject, given: readonly Tensor[], [y, ...state]: readonly Tensor[]): readonly Tensor[] {
  return [y!, ...continued(s, given, state, sliceAxis(given.at(-1)!, 1, 0, Math.min(2, s.length)), s.batch)];
}

/** The leaves of a state; of one that grows, the outputs for `next` [B L D] that come of it. */
function continued(
  s: Subject,
  given: readonly Tensor[],
  state: readonly Tensor[],
  next: Tensor,
  batch: number,
): readonly Tensor[] {
  if (s.mixer.state !== "grows" || !s.hasState) return state;
  const tree = replaceLeaves(s.mixer.initState(s.config, batch), state);
  return [run(s, paramsOf(s, given), next, tree, "parallel")[0]!];
}
