/** State passing: from what each of several pieces of a sequence leaves behind to the state before each. */
import { linearScan } from "@seqmix/scan";
import {
  assertSettings,
  assertTensors,
  concat,
  expandDims,
  full,
  reshape,
  sliceAxis,
  zeros,
  type Tensor,
} from "@seqmix/tensor";

/** What {@link passStates} takes. The axes behind C are those of a state, [H K V] say. */
export interface PassStatesArguments {
  /** The state after each piece, had there been nothing before it [B C ..]. */
  readonly states: Tensor;
  /** What is left of a state over each piece, 0 to 1, broadcast against `states`; none: all of it. */
  readonly kept?: Tensor | undefined;
  /** The state before the first piece [B ..]; zeros by default. */
  readonly h0?: Tensor | undefined;
}

/** What {@link passStates} returns. */
export interface PassStatesResult {
  /** The state before each piece [B C ..]. */
  readonly before: Tensor;
  /** The state after the last piece [B ..]. */
  readonly hT: Tensor;
}

/**
 * The recurrence over pieces, h_c = kept_c h_(c-1) + states_c: how chunks of one sequence, or the devices that share it,
 * depend on each other (Dao and Gu, Transformers are SSMs, 2024, sections 6 and 8.2).
 */
export function passStates(given: PassStatesArguments): PassStatesResult {
  assertSettings("passStates", given, ["states", "kept", "h0"]);
  assertTensors("passStates", given, ["states"], ["kept", "h0"]);
  const { states, kept, h0 } = given;
  const [B, C, ...state] = states.shape as [number, number, ...number[]];
  const start = h0 ?? zeros([B, ...state]);
  if (C === 0) return { before: states, hT: start };
  const after = linearScan({
    a:
      kept ??
      full(
        states.shape.map(() => 1),
        1,
      ),
    b: states,
    h0,
    axis: 1,
  });
  return {
    before: concat([expandDims(start, 1), sliceAxis(after, 1, 0, C - 1)], 1),
    hT: reshape(sliceAxis(after, 1, C - 1, C), [B, ...state]),
  };
}
