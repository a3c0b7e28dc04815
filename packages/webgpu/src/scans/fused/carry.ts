/** From what each segment does to a state to the state before each segment, and the same backwards for the adjoint. A thread a state or adjoint. */
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import type { Layout } from "./layout.js";
import {
  advance,
  element,
  initialState,
  isZero,
  makeWriter,
  partsOf,
  write,
  type Buffers,
  type Scope,
} from "./scope.js";

const THREADS = 64;
/** Segments loaded ahead of their use. */
const AHEAD = 16;

export function carryPass(layout: Layout, buffers: Buffers): GpuPass {
  const { kernel, linear, N, C, channel, grid, gridSize, register, rows, segments } = layout;
  const { extents } = kernel;
  const writer = makeWriter(layout);
  const parts = partsOf(layout);
  const groups = Math.ceil(rows / THREADS);
  const lines = [
    `let row = i32(${kernel.adjoint ? `group % ${groups}u` : "group"} * ${THREADS}u + thread);`,
    `if (row >= ${rows}) { return; }`,
    `let c = row % ${C};`,
    `let n = row / ${C} % ${N};`,
    `let place = row / ${C * N};`,
  ];
  const axes = extents.map(() => "0");
  if (register !== undefined) axes[register] = "n";
  for (const [all, position] of [
    [channel, "c"],
    [grid, "place"],
  ] as const) {
    let rest: string = position;
    all.toReversed().forEach((axis) => {
      lines.push(`let i${axis} = ${rest} % ${extents[axis]};`);
      axes[axis] = `i${axis}`;
      rest = `(${rest} / ${extents[axis]})`;
    });
  }
  const scope: Scope = { writer, axes, known: new Map() };
  const ends = writer.bind(buffers.ends, "ends", "read_write", "f32");
  const decays = writer.bind(buffers.decays, "decays", "read", "f32");
  if (linear) {
    const [text] = write(scope, [linear.rate], lines);
    lines.push(`let rate = ${text};`);
  }
  const run = (name: string, buffer: string, sign: 1 | -1): void => {
    const step = (count: number): string => {
      const inner: string[] = [];
      for (let u = 0; u < count; u++) {
        inner.push(`let at${u} = (segment + ${sign * u}) * ${rows} + row;`);
        parts.forEach((part) => inner.push(`let e${u}${part} = ${buffer}${element(layout, `at${u}`, part)};`));
        if (linear)
          inner.push(
            `let a${u}re = exp2(rate * ${decays}[((segment + ${sign * u}) * ${gridSize} + place) * ${C} + c]);`,
          );
        else parts.forEach((part) => inner.push(`let a${u}${part} = ${decays}${element(layout, `at${u}`, part)};`));
      }
      for (let u = 0; u < count; u++) {
        parts.forEach((part) => inner.push(`${buffer}${element(layout, `at${u}`, part)} = ${name}${part};`));
        const a = parts.map((part) => `a${u}${part}`);
        const state = parts.map((part) => `${name}${part}`);
        // The product may have overflowed; a state of 0 stays 0.
        const zero = [isZero(state), ...(kernel.forgets ? [isZero(a)] : [])].map((text) => `(${text})`).join(" | ");
        const next = advance(
          a,
          state,
          parts.map((part) => `e${u}${part}`),
          sign,
          zero,
        );
        parts.forEach((part, at) => inner.push(`let next${u}${part} = ${next[at]};`));
        parts.forEach((part) => inner.push(`${name}${part} = next${u}${part};`));
      }
      return indent(inner.join("\n"));
    };
    lines.push("{", `var segment = ${sign === 1 ? 0 : segments - 1};`);
    const ahead = (count: number): string =>
      sign === 1 ? `segment + ${count} <= ${segments}` : `segment >= ${count - 1}`;
    lines.push(
      `for (; ${ahead(AHEAD)}; segment += ${sign * AHEAD}) {`,
      step(AHEAD),
      "}",
      `for (; ${ahead(1)}; segment += ${sign}) {`,
      step(1),
      "}",
      "}",
    );
  };
  if (kernel.adjoint) lines.push(`if (group < ${groups}u) {`);
  const start = initialState(scope, kernel.initial, lines);
  parts.forEach((part, at) => lines.push(`var h${part} = ${start[at]};`));
  run("h", ends, 1);
  if (kernel.adjoint) {
    lines.push("} else {", ...parts.map((part) => `var g${part} = 0.0;`));
    run("g", writer.bind(buffers.adjoints, "adjoints", "read_write", "f32"), -1);
    lines.push("}");
  }
  return writer.pass(THREADS, groups * (kernel.adjoint ? 2 : 1), lines);
}
