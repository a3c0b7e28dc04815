/** The pass of a kernel that runs in squares: see tiles.ts. */
import { product, type LoopKernel } from "@seqmix/tensor/backend";
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import { functionTexts } from "../wgsl/functions.js";
import { affineText, registerType, toMemory } from "../wgsl/values.js";
import { axisNames, nameBuffers, pointFunction, split, type LoopBuffers } from "./text.js";
import { keyOf, SIDE, type Tiles } from "./tiles.js";

/** Rows of a square that a workgroup takes at once. */
const ROWS = 8;

/** A kernel in squares; a thread computes {@link SIDE} / {@link ROWS} points. */
export function tilePass(kernel: LoopKernel, { axis, loads }: Tiles, buffers: LoopBuffers): GpuPass {
  const { extents, outputs } = kernel;
  const last = extents.length - 1;
  const functions = new Set<string>();
  const layout = { width: 1, axis: last, vectors: [] } as const;
  const names = nameBuffers(kernel, buffers, layout);
  const threads = SIDE * ROWS;
  const point = pointFunction(outputs, {
    kernel,
    buffers,
    layout: { ...layout, vectors: loads },
    names,
    functions,
    threads,
  });
  const distinct = [...new Map(loads.map((load) => [keyOf(load), load])).values()];
  const axes = axisNames(kernel);
  const others = extents.map((_, k) => k).filter((k) => k !== axis && k !== last);
  const [along, wide] = [Math.ceil(extents[axis]! / SIDE), Math.ceil(extents[last]! / SIDE)];
  const groups = along * wide * product(others.map((k) => extents[k]!));
  const position = extents.reduce((text, extent, k) => (k === 0 ? axes[0]! : `(${text}) * ${extent} + ${axes[k]}`), "");
  const call = `point(${[...axes, ...distinct.map((_, k) => `tile${k}[column][row]`)].join(", ")})`;
  // All turns read before any of them waits: a loop would wait for memory at each.
  const turns = (of: (row: string, turn: number) => readonly string[]): string =>
    Array.from({ length: SIDE / ROWS }, (_, turn) => of(turn === 0 ? "firstRow" : `firstRow + ${turn * ROWS}`, turn))
      .flat()
      .join("\n");
  const given = (row: string): string =>
    axes
      .map((name, k) =>
        k === axis
          ? `min(firstAlong + column, ${extents[axis]! - 1})`
          : k === last
            ? `min(firstWide + ${row}, ${extents[last]! - 1})`
            : name,
      )
      .join(", ");
  const reads = distinct.map(
    (load, k) =>
      `fn read${k}(${axes.map((name) => `${name}: i32`).join(", ")}) -> ${registerType(load.dtype)} { return ${names.read(load.input, affineText(load.index, axes))}; }\n`,
  );
  const text = `if (group >= ${groups}u) { return; }
let rest = group / ${along * wide}u;
${split(
  "rest",
  others.map((k) => extents[k]!),
  others.map((k) => axes[k]!),
).join("\n")}
let firstAlong = i32(group / ${wide}u % ${along}u) * ${SIDE};
let firstWide = i32(group % ${wide}u) * ${SIDE};
let column = i32(thread % ${SIDE}u);
let firstRow = i32(thread / ${SIDE}u);
${turns((row, turn) => distinct.map((_, k) => `let value${turn}_${k} = read${k}(${given(row)});`))}
${turns((row, turn) => distinct.map((_, k) => `tile${k}[${row}][column] = value${turn}_${k};`))}
workgroupBarrier();
${turns((row) => [
  `{
  let row = ${row};
  let ${axes[axis]} = firstAlong + row;
  let ${axes[last]} = firstWide + column;
  if ((${axes[axis]} < ${extents[axis]}) & (${axes[last]} < ${extents[last]})) {
    let at = ${position};
    let p = ${call};
${outputs.map(({ dtype }, k) => `    ${names.outputs[k]}[at] = ${toMemory(dtype, point.result("p", k))};`).join("\n")}
  }
}`,
])}`;
  const memory = distinct.map(
    ({ dtype }, k) => `var<workgroup> tile${k}: array<array<${registerType(dtype)}, ${SIDE + 1}>, ${SIDE}>;\n`,
  );
  return {
    code:
      names.declarations +
      functionTexts(functions) +
      memory.join("") +
      reads.join("") +
      point.text +
      entryPoint(threads, text),
    buffers: names.bindings,
    groups,
  };
}
