/** The run through a segment that finds the states before its chunks. */
import { indent } from "@seqmix/tensor/wgsl";
import type { Scalar } from "@seqmix/tensor/backend";
import { advance, forgotten, fourOf, hoist, partsOf, timeText, writeStep, type Scope } from "./scope.js";
import { stage } from "./stage.js";

/**
 * Statements that fill the arrays `starts` from their first states on, up to the last chunk; all states of the thread's
 * channel are in registers meanwhile.
 * @param scope What neither steps nor states change.
 */
export function sweep(scope: Scope): string[] {
  const { writer } = scope;
  const { layout } = writer;
  const { kernel, N, R, T, segment, axesOf, register } = layout;
  const parts = partsOf(layout);
  const roots: Scalar[] = [...kernel.decay, ...kernel.drive];
  const alongBit = 1 << kernel.along,
    registerBit = register === undefined ? 0 : 1 << register;
  const each = Array.from({ length: R }, (_, k) => k);
  const staging = stage(scope, roots, segment, false, layout.sweptBytes);
  const count = Math.min(layout.ahead, T);

  const axesAt = (time: string, k: number): string[] =>
    scope.axes.map((text, axis) =>
      axis === kernel.along ? time : axis === register ? (N === R ? String(k) : `(n0 + ${k})`) : text,
    );
  const lines: string[] = [];
  const reads = new Map<string, string>();
  const own = each.map((k) =>
    hoist(
      { ...scope, axes: axesAt("0", k) },
      roots,
      (node) => (axesOf(node) & alongBit) === 0,
      lines,
      fourOf(writer, layout.fours, axesAt("0", k - (k % 4)), k, reads, lines),
    ),
  );
  const states = each.map((k) => parts.map((part) => `h${k}${part}`));
  each.forEach((k) => parts.forEach((part, at) => lines.push(`var ${states[k]![at]} = starts${part}[${k}];`)));
  const body: string[] = [];
  const known = Array.from({ length: count }, (_, u) => {
    body.push(`let t${u} = ${timeText(layout, u === 0 ? "step" : `step + ${u}`)};`);
    return hoist(
      { ...scope, axes: axesAt(`t${u}`, 0), loaded: (node) => (staging.has(node) ? "" : undefined) },
      roots,
      (node) => (axesOf(node) & registerBit) === 0,
      body,
    ).known;
  });
  known.forEach((atStep, u) => {
    const here: string[] = [];
    const read: string[] = [];
    const vectors = new Map<string, string>();
    for (const k of each) {
      const at: Scope = {
        ...scope,
        axes: axesAt(`t${u}`, k),
        known: new Map([...own[k]!.known, ...atStep]),
        loaded: (node) =>
          staging.has(node)
            ? staging.read(node, u === 0 ? "(step - tile)" : `(step - tile + ${u})`, k, read, vectors)
            : undefined,
      };
      const { a, b } = writeStep(at, here);
      const next = advance(a, states[k]!, b, 1, forgotten(layout, a)).map((value) =>
        parts.length > 1 ? writer.named(value, here) : value,
      );
      states[k]!.forEach((name, part) => here.push(`${name} = ${next[part]};`));
    }
    body.push("{", ...[...read, ...here].map((line) => `  ${line}`), "}");
  });
  const stored = each.flatMap((k) =>
    parts.map((part, at) => `starts${part}[(chunk - first) / ${T} * ${R} + ${R + k}] = ${states[k]![at]};`),
  );
  const sweeping = [
    ...lines,
    `for (var chunk = first; chunk < lastChunk; chunk += ${T}) {`,
    `  for (var step = chunk; step < chunk + ${T}; step += ${count}) {`,
    indent(body.join("\n"), 2),
    "  }",
    ...stored.map((line) => `  ${line}`),
    "}",
  ];
  return [
    "if (first < lastChunk) {",
    "  let tile = first;",
    ...[...staging.fill, ...sweeping].map((line) => `  ${line}`),
    "}",
  ];
}
