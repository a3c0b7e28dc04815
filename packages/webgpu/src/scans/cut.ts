/**
 * Scans whose operands exceed what a pass may bind: cut between rows, and a row too large into stretches, each of which
 * begins with the state that the one before it ended with.
 */
import { bytesOf, WINDOW_ALIGNMENT, type GpuLimits, type GpuProgram } from "@seqmix/tensor/wgsl";
import { copyPasses, type Copy } from "../native/copies.js";
import { joined, windowOf, type Part } from "../native/parts.js";
import { scanProgram, type ScanShape } from "./program.js";

/** Elements that windows start at a multiple of. */
const STEP = WINDOW_ALIGNMENT / 4;

type Place = Part["buffers"][number];

/** Elements of a buffer, from a place where a window may start. */
interface Stretch {
  readonly place: Place;
  /** How many of them lie before those that are meant. */
  readonly before: number;
}

const stretchOf = (buffer: number, from: number, size: number): Stretch => {
  const before = from % STEP;
  return { place: { buffer, window: windowOf(from - before, before + size) }, before };
};

/** Buffers: (a,) b (, h0), h. */
export function cutScan(shape: ScanShape, limits: GpuLimits): GpuProgram {
  const { outer, length, inner, decays, initial, reverse } = shape;
  const row = length * inner;
  if (bytesOf(outer * row) <= limits.bytes) return scanProgram(shape);
  const values = decays ? [0, 1] : [0];
  const [given, out] = [values.length, values.length + (initial ? 1 : 0)];
  /** A block for the state that a part begins with. */
  const carry = out + 1;
  const most = Math.floor(limits.bytes / 4 / STEP) * STEP - STEP;
  const parts: Part[] = [];
  let carried = 0;

  const copyState = (from: number, at: number, words: number): void => {
    carried = Math.max(carried, words);
    const copy: Copy = { from: 0, to: 1, words, fromAt: at % STEP, toAt: 0 };
    const { place } = stretchOf(from, at, words);
    const bytes = [place.window.bytes, bytesOf(words)];
    parts.push({
      program: { name: "copy", passes: copyPasses([copy], (buffer) => bytes[buffer]!, limits.bytes), scratch: [] },
      buffers: [place, { buffer: carry, window: windowOf(0, words) }],
    });
  };
  /** Part of the scan on elements from a place on, with a state from a place on or none. */
  const add = (part: Pick<ScanShape, "outer" | "length" | "inner">, from: number, state?: Place): void => {
    const size = part.outer * part.length * part.inner;
    const { before } = stretchOf(out, from, size);
    parts.push({
      program: scanProgram({ ...shape, ...part, before, initial: state !== undefined }),
      buffers: [
        ...values.map((buffer) => stretchOf(buffer, from, size).place),
        ...(state ? [state] : []),
        stretchOf(out, from, size).place,
      ],
    });
  };
  const stateAt = (from: number, words: number): Place => ({ buffer: carry, window: windowOf(from, words) });

  const rows = (from: number, count: number): void => {
    if (count * row > most && count > 1) {
      const first = Math.ceil(count / 2);
      rows(from, first);
      rows(from + first, count - first);
    } else if (count * row > most) lengthwise(from);
    else {
      if (initial) copyState(given, from * inner, count * inner);
      add({ outer: count, length, inner }, from * row, initial ? stateAt(0, count * inner) : undefined);
    }
  };
  const lengthwise = (from: number): void => {
    const steps = Math.max(1, Math.floor(most / inner));
    if (initial) copyState(given, from * inner, inner);
    for (let done = 0; done < length; done += steps) {
      const count = Math.min(steps, length - done);
      const start = from * row + (reverse ? length - done - count : done) * inner;
      const begins = done > 0 || initial;
      for (let at = 0; at < inner; at += most) {
        const width = Math.min(most, inner - at);
        const state = begins ? stateAt(at, width) : undefined;
        add({ outer: 1, length: count, inner: width }, start + at, state);
      }
      if (done + count < length) copyState(out, start + (reverse ? 0 : count - 1) * inner, inner);
    }
  };
  rows(0, outer);
  const name = `${decays ? "scan" : "running sum"} ${outer} x ${length} x ${inner}`;
  return joined(name, out + 1, parts, carried > 0 ? [bytesOf(carried)] : []);
}
