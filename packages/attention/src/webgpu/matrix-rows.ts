/** How rows of operands get to the products: the tile's own into registers, a block's into workgroup memory. */
import { FRAGMENT } from "@seqmix/tensor/wgsl";
import type { Operand } from "./engine.js";
import {
  corner,
  eachSubgroup,
  keptName,
  loadFragment,
  partsOf,
  pitchOf,
  scoreBlock,
  threadsOf,
  VECTOR,
  type Unit,
} from "./matrix-layout.js";
import { lines, range } from "./text.js";

/** Fragments of the tile's own rows, which wait in registers. */
export function keepRows(unit: Unit, operand: Operand): string {
  const { tile, terms, fragments } = unit;
  const { rows } = tile;
  const threads = threadsOf(tile);
  const parts = partsOf(terms);
  const own = scoreBlock(tile);
  const { name, width, head, length } = operand;
  const across = width / VECTOR;
  return lines(
    parts.flatMap((part) =>
      range(own.down).flatMap((i) =>
        range(width / FRAGMENT).map((step) => `var ${keptName(operand, part, i, step)}: ${fragments.operand("left")};`),
      ),
    ),
    parts.map((part) =>
      lines(
        `for (var e = lane; e < ${rows * across}; e += ${threads}) {`,
        `  let source = (${head} * ${length} + min(firstRow + e / ${across}, ${length} - 1)) * ${across} + e % ${across};`,
        `  tiles[e / ${across} * ${pitchOf(width)} + e % ${across}] = ${name}[source${part === 1 ? ` + ${name}Low` : ""}];`,
        "}",
        "workgroupBarrier();",
        eachSubgroup(tile, (q) => {
          const [row] = corner(tile.scores, own, q);
          return lines(
            range(own.down).flatMap((i) =>
              range(width / FRAGMENT).map(
                (step) =>
                  `${keptName(operand, part, i, step)} = ${loadFragment(unit, "left", "row_major", (row + FRAGMENT * i) * pitchOf(width) + (step * FRAGMENT) / VECTOR, pitchOf(width))};`,
              ),
            ),
          );
        }),
        "workgroupBarrier();",
      ),
    ),
  );
}

/** Texts of a block on its way. */
export interface Staged {
  /** Declares the registers. */
  readonly begin: string;
  ask(first: string): string;
  readonly store: string;
}

/** How a block's rows come from memory through registers to workgroup memory. */
export function stageBlock({ tile, terms, layout }: Unit, { name, width, head, length }: Operand): Staged {
  const { columns } = tile;
  const threads = threadsOf(tile);
  const parts = partsOf(terms);
  const across = width / VECTOR;
  const total = columns * across;
  const some = range(Math.ceil(total / threads));
  const only = (q: number, text: string): string =>
    (q + 1) * threads > total ? `if (lane + ${q * threads} < ${total}) { ${text} }` : text;
  const place = (q: number): string => (q === 0 ? "lane" : `(lane + ${q * threads})`);
  const both = (text: (q: number, part: number) => string): string =>
    lines(some.flatMap((q) => parts.map((part) => only(q, text(q, part)))));
  return {
    begin: lines(
      some.flatMap((q) => [
        `let ${name}Row${q} = ${place(q)} / ${across};`,
        `let ${name}Column${q} = ${place(q)} % ${across};`,
        ...parts.map((part) => `var ${name}Read${q}_${part} = vec4<u32>();`),
      ]),
    ),
    ask: (first: string) =>
      both(
        (q, part) =>
          `${name}Read${q}_${part} = ${name}[(${head} * ${length} + min(${first} + ${name}Row${q}, ${length} - 1)) * ${across} + ${name}Column${q}${part === 1 ? ` + ${name}Low` : ""}];`,
      ),
    store: both(
      (q, part) =>
        `tiles[${layout.places.get(name)![part]!} + ${name}Row${q} * ${pitchOf(width)} + ${name}Column${q}] = ${name}Read${q}_${part};`,
    ),
  };
}
