/**
 * Scores of keys with what decays between their steps, where every key has a decay of its own. A thread has a pair of blocks of
 * four steps: of different blocks the decays are factors to the blocks' edges and of the blocks between, which some threads bring
 * into workgroup memory, four keys each; what they have at hand there makes the pairs within their block, four keys' share of each.
 */
import type { Operand } from "@seqmix/tensor/backend";
import { entryPoint, indent, type GpuPass } from "@seqmix/tensor/wgsl";
import { declarations, passOf, splitHeads, type Chunks } from "./layout.js";
import type { Score } from "./scores.js";
import { distinct } from "./states.js";
import { rowText, vectors } from "./vector.js";

const FOUR = [0, 1, 2, 3] as const;
const ONES = "vec4<f32>(1.0)";

/** Pairs of steps of a block, the later one first. */
const WITHIN = FOUR.flatMap((r) => FOUR.filter((k) => k <= r).map((k) => [r, k] as const));

/** Four-key vectors of a slice: where workgroup memory has room, and on any adapter. */
const SLICES = [8, 4] as const;

/** Vectors in workgroup memory: neighbouring threads read neighbouring ones, since they would wait for each other's banks else. */
const layout = (blocks: number, slice: number) => ({
  into: 4 * slice * (blocks + 1),
  sinceBlock: 4 * blocks * slice,
  whole: blocks * slice,
  betweens: ((blocks - 1) * (blocks - 2) * slice) / 2,
});
const bytesOfSlice = (blocks: number, slice: number): number =>
  16 * Object.values(layout(blocks, slice)).reduce((sum, vectors) => sum + vectors, 0);

/** [heads, chunks, Q, Q]. */
export function keyScoresPass(chunks: Chunks, score: Score, to: number, workgroupBytes: number): GpuPass {
  const { parts, Q, L, H, count, K4, operands } = chunks;
  const blocks = Q / 4;
  const slice = SLICES.find((each) => bytesOfSlice(blocks, each) <= workgroupBytes) ?? 4;
  const sizes = layout(blocks, slice);
  const pitch = blocks + 1;
  const pairs = sizes.betweens / slice;
  const threads = blocks * blocks;
  const bound = distinct([
    { name: "later", ...vectors(operands.get(score.later)!) },
    { name: "earlier", ...vectors(operands.get(score.earlier)!) },
    { name: "decay", buffer: operands.get(parts.decay)!.buffer, type: "vec4<f32>" },
    { name: "scores", buffer: to, type: "vec4<f32>", access: "read_write" },
  ]);
  const read = (operand: Operand): ((step: string, column: string) => string) =>
    rowText(chunks, operand, bound.nameOf(operands.get(operand)!.buffer));
  const [later, earlier, decay] = [read(score.later), read(score.earlier), read(parts.decay)];
  const step = (r: number): string => `min(t0 + 4 * b + ${r}, ${L - 1})`;
  const sum = (r: number, k: number): string => `s${r}_${k}`;
  const load = `let e = min(next + v, ${K4 - 1});
let here = select(vec4<f32>(), ${ONES}, next + v < ${K4});
${FOUR.map((r) => `a${r} = ${decay(step(r), "e")};\nq${r} = ${later(step(r), "e")} * here;\nk${r} = ${earlier(step(r), "e")};`).join("\n")}`;
  const share = WITHIN.map(([r, k]) => {
    const between = FOUR.filter((n) => n > k && n <= r).map((n) => `a${n}`);
    return `own${r}_${k} += dot(q${r}, ${[`k${k}`, ...between].reduce((x, y) => `(${x} * ${y})`)});`;
  });
  const body = `let number = i32(group);
if (number >= ${H * count}) { return; }
let lane = i32(thread);
let h = number / ${count};
let c = number % ${count};
${splitHeads(chunks, "h", parts.form.heads)}
let t0 = c * ${Q};
let i = lane / ${blocks};
let j = lane % ${blocks};
let b = min(lane / ${slice}, ${blocks - 1});
let v = lane % ${slice};
${FOUR.flatMap((r) => FOUR.map((k) => `var ${sum(r, k)} = 0.0;`)).join(" ")}
${WITHIN.map(([r, k]) => `var own${r}_${k} = 0.0;`).join(" ")}
${FOUR.map((r) => `var a${r} = vec4<f32>(); var q${r} = vec4<f32>(); var k${r} = vec4<f32>();`).join("\n")}
var next = 0;
if (lane < ${blocks * slice}) {
${indent(load)}
}
for (var first = 0; first < ${K4}; first += ${slice}) {
  if (lane < ${blocks * slice}) {
${indent(share.join("\n"), 2)}
    let p1 = a0 * a1;
    let p2 = p1 * a2;
    let c1 = a2 * a3;
    sinceBlock[(4 * b) * ${slice} + v] = q0 * a0;
    sinceBlock[(4 * b + 1) * ${slice} + v] = q1 * p1;
    sinceBlock[(4 * b + 2) * ${slice} + v] = q2 * p2;
    sinceBlock[(4 * b + 3) * ${slice} + v] = q3 * (p2 * a3);
    into[v * ${pitch} + b] = k0 * (a1 * c1);
    into[(${slice} + v) * ${pitch} + b] = k1 * c1;
    into[(${2 * slice} + v) * ${pitch} + b] = k2 * a3;
    into[(${3 * slice} + v) * ${pitch} + b] = k3;
    whole[b * ${slice} + v] = p2 * a3;
  }
  workgroupBarrier();
  next = first + ${slice};
  if ((lane < ${blocks * slice}) & (next < ${K4})) {
${indent(load, 2)}
  }
  if (lane < ${blocks * slice}) {
    var product = ${ONES};
    for (var n = b + 2; n < ${blocks}; n++) {
      product *= whole[(n - 1) * ${slice} + v];
      betweens[v * ${pairs} + (n - 2) * (n - 1) / 2 + b] = product;
    }
  }
  workgroupBarrier();
  if (i > j) {
    for (var s = 0; s < ${slice}; s++) {
      let between = select(betweens[s * ${pairs} + max(i - 2, 0) * (i - 1) / 2 + j], ${ONES}, i == j + 1);
${FOUR.map((k) => `      let x${k} = into[(${k * slice} + s) * ${pitch} + j] * between;`).join("\n")}
${FOUR.map((r) => `      let y${r} = sinceBlock[(4 * i + ${r}) * ${slice} + s];`).join("\n")}
${FOUR.flatMap((r) => FOUR.map((k) => `      ${sum(r, k)} += dot(y${r}, x${k});`)).join("\n")}
    }
  }
  workgroupBarrier();
}
${[0, 4, 8].map((n) => togetherWithin(WITHIN.slice(n, n + 4), blocks * slice, slice)).join("\n")}
if (i >= j) {
  let at = (h * ${count} + c) * ${(Q * Q) / 4};
${stored(Q, score, sum)}
}`;
  const code = `${declarations(bound.list)}${Object.entries(sizes)
    .map(([name, vectors]) => `var<workgroup> ${name}: array<vec4<f32>, ${vectors}>;\n`)
    .join("")}${entryPoint(threads, body)}`;
  return passOf(chunks, bound.list, H * count, code);
}

/** Sums of up to four pairs of a block over the threads that have its keys. */
function togetherWithin(pairs: readonly (readonly [number, number])[], threads: number, slice: number): string {
  const own = FOUR.map((n) => (pairs[n] ? `own${pairs[n][0]}_${pairs[n][1]}` : "0.0"));
  return `if (lane < ${threads}) { whole[lane] = vec4<f32>(${own.join(", ")}); }
workgroupBarrier();
if (i == j) {
  for (var s = 0; s < ${slice}; s++) {
${pairs.map(([r, k], n) => `    s${r}_${k} += whole[i * ${slice} + s][${n}];`).join("\n")}
  }
}
workgroupBarrier();`;
}

/** Above the diagonal they stay 0. */
function stored(Q: number, { rows }: Score, sum: (r: number, k: number) => string): string {
  return FOUR.map((n) =>
    rows === "earlier"
      ? `  scores[at + (4 * j + ${n}) * ${Q / 4} + i] = vec4<f32>(${FOUR.map((r) => sum(r, n)).join(", ")});`
      : `  scores[at + (4 * i + ${n}) * ${Q / 4} + j] = vec4<f32>(${FOUR.map((k) => sum(n, k)).join(", ")});`,
  ).join("\n");
}
