/**
 * What the seeds of a segment send back to the state before it, of decays that are powers: once more, with exponents beside the
 * products, where these may leave the range of f32. A thread does so for its own channels: most never have to.
 *
 * Only growth is looked for. Where decays of a segment shrink by more than 2^126 and never grow, the product is 0 before its share
 * of the seed is: what is lost is below 2^-126 of the seed, 2^-106 for one of 2^20. It is seen only where decays of the segments
 * before grow by as much again.
 */
import type { ScanValue } from "@seqmix/tensor/backend";
import { indent } from "@seqmix/tensor/wgsl";
import type { LinearDecay } from "./expressions.js";
import { apply, multiply } from "./products.js";
import { element, rowText, timeText, write, type Buffers, type Scope, type Writer } from "./scope.js";

/** Powers of two that decays may grow by in a segment before exponents matter: less brings back nothing that vanished, either. */
const MOST_GROWTH = 60;

export const DECLARED = ["var highest = 0.0;", "var lowest = 0.0;"];
/** Statements that note the argument of a step's power. */
export const noted = (argument: string): string[] => [
  `highest = max(highest, ${argument});`,
  `lowest = min(lowest, ${argument});`,
];

/**
 * Statements behind those that store the sums without exponents.
 * @param scopeAt The scope of a step, where the register axis is at `(n0 + k)`.
 */
export function sentBackAgain(
  writer: Writer,
  linear: LinearDecay,
  seed: ScanValue,
  buffers: Buffers,
  scopeAt: (time: string) => Scope,
): string[] {
  const { layout } = writer;
  const lines: string[] = [];
  const [rate] = write(scopeAt("0"), [linear.rate], lines);
  const inner: string[] = [];
  const scope = scopeAt("t");
  const [decay] = write(scope, layout.kernel.decay, inner).map((text) => writer.named(text, inner));
  multiply(writer, [decay!], ["product"], "power", inner);
  const seeds = write(scope, seed, inner).map((text) => writer.named(text, inner));
  const [sent] = apply(writer, { p: ["product"], exponent: "power" }, seeds, ["sum"], -1, inner);
  const adjoints = writer.bind(buffers.adjoints, "adjoints", "read_write", "f32");
  const place = element(layout, `segment * ${layout.rows} + ${rowText(layout, "n0 + k")}`, "re");
  lines.push(
    `let rate = ${rate};`,
    `if (max(rate * highest, rate * lowest) * f32(last - first) > ${MOST_GROWTH}.0) {`,
    "  var product = 1.0;",
    "  var power = 0;",
    "  var sum = 0.0;",
    "  for (var step = first; step < last; step++) {",
    `    let t = ${timeText(layout, "step")};`,
    indent(inner.join("\n"), 2),
    `    sum = ${sent};`,
    "  }",
    `  ${adjoints}${place} = sum;`,
    "}",
  );
  return [`for (var k = 0; k < ${layout.R}; k++) {`, ...lines.map((line) => `  ${line}`), "}"];
}
