/** Copies of words between buffers of a program, as few passes as may run them. */
import {
  declare,
  declareParameters,
  entryPoint,
  PORTABLE_LIMITS,
  WINDOW_ALIGNMENT,
  type GpuPass,
  type GpuWindow,
} from "@seqmix/tensor/wgsl";

const THREADS = 64;

/** Words of one buffer that go into another. */
export interface Copy {
  readonly from: number;
  readonly to: number;
  readonly words: number;
  readonly fromAt: number;
  readonly toAt: number;
}

/** A copy, and the windows of its buffers where one of them is too large to be bound. */
interface Bound extends Copy {
  readonly windows?: { readonly from: GpuWindow; readonly to: GpuWindow };
}

/**
 * In order: a copy may read what one before it wrote.
 * @param bytesOf The size of a buffer. @param most Bytes that a pass may bind of one.
 */
export function copyPasses(copies: readonly Copy[], bytesOf: (buffer: number) => number, most: number): GpuPass[] {
  const passes: Bound[][] = [];
  const fits = ({ from, to }: Copy): boolean => Math.max(bytesOf(from), bytesOf(to)) <= most;
  for (const copy of copies.flatMap((each): readonly Bound[] => (fits(each) ? [each] : inWindows(each, most)))) {
    if (copy.words === 0) continue;
    const last = passes.at(-1);
    if (last && mayJoin(last, copy)) last.push(copy);
    else passes.push([copy]);
  }
  return passes.map(passOf);
}

/** A copy in pieces, each between windows of the two buffers. */
function inWindows({ from, to, words, fromAt, toAt }: Copy, most: number): Bound[] {
  // a window may have to begin up to an alignment before the words
  const step = (most - WINDOW_ALIGNMENT) / 4;
  return Array.from({ length: Math.ceil(words / step) }, (_, k): Bound => {
    const count = Math.min(step, words - k * step);
    const [source, target] = [windowOf(fromAt + k * step, count), windowOf(toAt + k * step, count)];
    return {
      from,
      to,
      words: count,
      fromAt: source.before,
      toAt: target.before,
      windows: { from: source.window, to: target.window },
    };
  });
}

/** The window of some words, and how many words of it lie before them. */
function windowOf(at: number, words: number): { readonly window: GpuWindow; readonly before: number } {
  const before = at % (WINDOW_ALIGNMENT / 4);
  return { window: { from: 4 * (at - before), bytes: 4 * (before + words) }, before };
}

/** A pass binds few buffers, and none both to be read and to be written; windows go by themselves. */
function mayJoin(together: readonly Bound[], { from, to, windows }: Bound): boolean {
  if (windows || together[0]!.windows) return false;
  const read = new Set(together.map((copy) => copy.from)).add(from);
  const written = new Set(together.map((copy) => copy.to)).add(to);
  return read.size + written.size <= PORTABLE_LIMITS.buffers && [...read].every((buffer) => !written.has(buffer));
}

function passOf(copies: readonly Bound[]): GpuPass {
  const read = [...new Set(copies.map(({ from }) => from))];
  const written = [...new Set(copies.map(({ to }) => to))];
  const { windows } = copies[0]!;
  const parameters = Object.fromEntries(
    copies.flatMap(({ words, fromAt, toAt }, k) => [
      [`words${k}`, words],
      [`from${k}`, fromAt],
      [`to${k}`, toAt],
    ]),
  );
  const declarations = [
    ...read.map((_, k) => declare(k, `source${k}`, "read", "u32")),
    ...written.map((_, k) => declare(read.length + k, `target${k}`, "read_write", "u32")),
    declareParameters(read.length + written.length, parameters),
  ];
  const body = [
    `let word = i32(group) * ${THREADS} + i32(thread);`,
    ...copies.map(
      ({ from, to }, k) =>
        `if (word < p.words${k}) { target${written.indexOf(to)}[p.to${k} + word] = source${read.indexOf(from)}[p.from${k} + word]; }`,
    ),
  ];
  return {
    code: `${declarations.join("")}${entryPoint(THREADS, body.join("\n"))}`,
    parameters,
    buffers: [
      ...read.map((buffer) => ({ buffer, access: "read", ...(windows && { window: windows.from }) }) as const),
      ...written.map((buffer) => ({ buffer, access: "read_write", ...(windows && { window: windows.to }) }) as const),
    ],
    groups: Math.ceil(Math.max(...copies.map(({ words }) => words)) / THREADS),
  };
}
