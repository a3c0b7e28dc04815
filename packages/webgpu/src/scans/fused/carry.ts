/** From what each segment does to a state to the state before each segment, and the same backwards for the adjoint. A thread a state or adjoint. */
import { indent, type GpuPass } from "@seqmix/tensor/wgsl";
import type { Layout } from "./layout.js";
import { apply } from "./products.js";
import {
  advance,
  decayElement,
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
  const { kernel, linear, grows, exponents, N, C, channel, grid, gridSize, register, rows, segments } = layout;
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
        if (linear) {
          const power = `rate * ${decays}[((segment + ${sign * u}) * ${gridSize} + place) * ${C} + c]`;
          // As a product near 1 and a whole exponent; beyond 2^600 no number is left.
          if (grows)
            inner.push(
              `let power${u} = clamp(${power}, -600.0, 600.0);`,
              `let x${u} = i32(floor(power${u}));`,
              `let a${u}re = exp2(power${u} - floor(power${u}));`,
            );
          else inner.push(`let a${u}re = exp2(${power});`);
        } else {
          parts.forEach((part, k) => inner.push(`let a${u}${part} = ${decays}${decayElement(layout, `at${u}`, k)};`));
          if (exponents) inner.push(`let x${u} = i32(${decays}${decayElement(layout, `at${u}`, parts.length)});`);
        }
      }
      for (let u = 0; u < count; u++) {
        parts.forEach((part) => inner.push(`${buffer}${element(layout, `at${u}`, part)} = ${name}${part};`));
        const a = parts.map((part) => `a${u}${part}`);
        const state = parts.map((part) => `${name}${part}`);
        const zero = kernel.forgets && isZero(a);
        const own = parts.map((part) => `e${u}${part}`);
        const next = grows
          ? apply(writer, { p: a, exponent: `x${u}` }, state, own, sign, inner, zero)
          : advance(a, state, own, sign, zero);
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
