/** Inputs without a channel axis, kept in workgroup memory for a chunk: every thread of the workgroup reads the same ones. */
import { nodesOf, type Scalar } from "@seqmix/tensor/backend";
import { affineText } from "../../wgsl/values.js";
import { timeText, write, type Scope } from "./scope.js";

type Load = Scalar & { readonly op: "load" };

export interface Staging {
  /** Statements that fill the memory for the chunk of `steps` steps from `tile`, with barriers around. */
  readonly fill: readonly string[];
  /** Whether a load is staged. */
  has(load: Load): boolean;
  /**
   * What a staged load reads in line `line` of its array at the constant place `at`.
   * @param lines Receives the statements that read four neighbours at once. @param vectors Those already read there.
   */
  read(load: Load, line: string, at: number, lines: string[], vectors: Map<string, string>): string;
}

/** Elements a thread reads before it stores the first. */
const MOST_TOGETHER = 16;

/**
 * Loads that depend on the register and the recurrence's axis, but on no channel. Arrays are [steps, R], or [R, steps] with
 * `transposed`, four neighbours in a vector where a line is made of fours.
 * @param bytes Workgroup memory they may take.
 */
export function stage(
  scope: Scope,
  roots: readonly Scalar[],
  steps: number,
  transposed: boolean,
  bytes: number,
): Staging {
  const { writer } = scope;
  const { layout } = writer;
  const { kernel, R, W, channel, register, axesOf, L } = layout;
  const names = new Map<string, string>();
  const fill: { readonly lines: readonly string[]; readonly value: string; readonly target: string }[] = [];
  const along = 1 << kernel.along;
  const width = transposed ? steps : R;
  const inVectors = width % 4 === 0;
  const channels = channel.reduce((bits, axis) => bits | (1 << axis), 0);
  const fits = (load: Load): boolean =>
    register !== undefined &&
    R > 1 &&
    W >= 16 &&
    !load.gather &&
    load.dtype === "f32" &&
    (axesOf(load) & channels) === 0 &&
    (axesOf(load) & along) !== 0 &&
    (axesOf(load) & (1 << register)) !== 0;
  const keyOf = (load: Load): string =>
    `${load.input} ${affineText(
      load.index,
      scope.axes.map((_, k) => `i${k}`),
    )}`;
  let left = bytes;
  for (const node of nodesOf(roots)) {
    if (node.op !== "load" || !fits(node) || names.has(keyOf(node)) || left < 4 * steps * R) continue;
    left -= 4 * steps * R;
    const name = writer.fresh().replace("v", "staged");
    names.set(keyOf(node), name);
    writer.module.push(
      `var<workgroup> ${name}: array<${inVectors ? `vec4<f32>, ${(steps * R) / 4}` : `f32, ${steps * R}`}>;`,
    );
    const axes = [...scope.axes];
    axes[kernel.along] = "t";
    axes[register!] = "n";
    const inner: string[] = [];
    const [text] = write({ ...scope, axes, known: new Map(), loaded: () => undefined }, [node], inner);
    fill.push({ lines: inner, value: text!, target: `${name}${inVectors ? "[at / 4][at % 4]" : "[at]"}` });
  }
  const nameOf = (load: Load): string | undefined => (fits(load) ? names.get(keyOf(load)) : undefined);
  // Neighbouring threads read neighbours on the register axis, which mostly lie next to each other in memory.
  const split = [
    `let n = n0 + x % ${R};`,
    `let t = ${timeText(layout, `min(tile + x / ${R}, ${L - 1})`)};`,
    `let at = ${transposed ? `x % ${R} * ${steps} + x / ${R}` : "x"};`,
  ];
  const size = steps * R;
  const rounds = Math.ceil(size / W);
  /** Elements of one place x. */
  const element = (x: string, store: (target: string, value: string) => string): string[] => [
    ...split.map((line) => line.replaceAll(/\bx\b/g, x)),
    ...fill.flatMap(({ lines, value, target }) => [...lines, store(target, value)]),
  ];
  // Some elements each are asked for together: the first are not waited for before the next are.
  const together = (): string[] => {
    const rest: string[] = [];
    const reads = Array.from({ length: rounds }, (_, round) => {
      const at = writer.fresh();
      const held = fill.map(() => writer.fresh());
      const targets: string[] = [];
      const lines = element(
        `(lane + ${round * W})`,
        (target, value) => `${held[targets.push(target) - 1]} = ${value};`,
      );
      targets.forEach((target, k) => rest.push(`${target.replaceAll(/\bat\b/g, at)} = ${held[k]};`));
      return [
        `var ${at}: i32;`,
        ...held.map((name) => `var ${name}: f32;`),
        "{",
        ...lines.map((line) => `  ${line}`),
        `  ${at} = at;`,
        "}",
      ];
    });
    return [...reads.flat(), ...rest];
  };
  const body =
    size % W === 0 && rounds * fill.length <= MOST_TOGETHER
      ? together()
      : [
          `for (var x = lane; x < ${size}; x += ${W}) {`,
          ...element("x", (target, value) => `${target} = ${value};`).map((line) => `  ${line}`),
          "}",
        ];
  return {
    fill: fill.length === 0 ? [] : ["workgroupBarrier();", ...body, "workgroupBarrier();"],
    has: (load) => nameOf(load) !== undefined,
    read(load, line, at, lines, vectors) {
      const name = nameOf(load)!;
      if (!inVectors) return `${name}[${line} * ${width} + ${at}]`;
      const key = `${name} ${line} ${at >> 2}`;
      let vector = vectors.get(key);
      if (!vector) {
        vectors.set(key, (vector = writer.fresh()));
        lines.push(`let ${vector} = ${name}[${line} * ${width / 4} + ${at >> 2}];`);
      }
      return `${vector}.${"xyzw"[at & 3]}`;
    },
  };
}
