/** Copies of words between buffers of a program, as few passes as may run them. */
import { declare, declareParameters, entryPoint, PORTABLE_LIMITS, type GpuPass } from "@seqmix/tensor/wgsl";

const THREADS = 64;

/** Words of one buffer that go into another. */
export interface Copy {
  readonly from: number;
  readonly to: number;
  readonly words: number;
  readonly fromAt: number;
  readonly toAt: number;
}

/** In order: a copy may read what one before it wrote. */
export function copyPasses(copies: readonly Copy[]): GpuPass[] {
  const passes: Copy[][] = [];
  for (const copy of copies) {
    if (copy.words === 0) continue;
    const last = passes.at(-1);
    if (last && mayJoin(last, copy)) last.push(copy);
    else passes.push([copy]);
  }
  return passes.map(passOf);
}

/** A pass binds few buffers, and none both to be read and to be written. */
function mayJoin(together: readonly Copy[], { from, to }: Copy): boolean {
  const read = new Set(together.map((copy) => copy.from)).add(from);
  const written = new Set(together.map((copy) => copy.to)).add(to);
  return read.size + written.size <= PORTABLE_LIMITS.buffers && [...read].every((buffer) => !written.has(buffer));
}

function passOf(copies: readonly Copy[]): GpuPass {
  const read = [...new Set(copies.map(({ from }) => from))];
  const written = [...new Set(copies.map(({ to }) => to))];
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
      ...read.map((buffer) => ({ buffer, access: "read" }) as const),
      ...written.map((buffer) => ({ buffer, access: "read_write" }) as const),
    ],
    groups: Math.ceil(Math.max(...copies.map(({ words }) => words)) / THREADS),
  };
}
