/** Backward passes of the convolution with one workgroup a row. */
import { entryPoint, type GpuPass } from "@seqmix/tensor/wgsl";
import { bind, stored } from "./bindings.js";
import { lines, number, type Text } from "./butterflies.js";
import {
  bound,
  eachRow,
  element,
  forward,
  head,
  inverse,
  multiply,
  parametersOf,
  prologue,
  read,
  rowOf,
  rowPass,
  spectrumOf,
  TYPES,
  write,
  type Row,
  type RowBuffers,
  type RowCase,
  type RowTuning,
} from "./row-pass.js";
import { BARRIER } from "./row-transform.js";

/** Elements of a channel's sums over the batch: those of k, of kReverse and of the skip behind each other. */
export const sumsWidth = ({ K, R, skip }: RowCase): number => (K ?? 0) + (R ?? 0) + (skip ? 1 : 0);

/** Names of the gradients that are sums over the batch. */
const sumNames = ({ K, R, skip }: RowCase): string[] => [
  ...(K === undefined ? [] : ["dk"]),
  ...(R === undefined ? [] : ["dkReverse"]),
  ...(skip ? ["dskip"] : []),
];

/** Where the sums over the batch go: to the gradients, or to the sums of a part of the batch. */
type Target = "gradients" | "sums";

/**
 * The gradients in one pass: du = g conj(H), the sums of g conj(u) over the batch for the kernels, and g (u H) for the gate.
 * Buffers: u, g, the kernels' or `spectrum`, gate, `twiddles`, du, dgate, and dk, dkReverse, dskip or `sums`
 * [parts, D, {@link sumsWidth}].
 */
export function backwardPass(
  kase: RowCase,
  tuning: RowTuning,
  offsets: readonly number[],
  buffers: RowBuffers,
  target: Target,
): GpuPass {
  const row = rowOf(kase, tuning, offsets);
  const { transform } = row;
  const inSums = target === "sums";
  const { text, groups, ragged } = head(row, tuning.parts);
  const [us, sums] = ["u", "s"].map((name) => transform.values.map((_, k) => `${name}${k}`)) as [string[], string[]];
  const body = lines(
    text,
    inSums ? "let sumsOf = (unit % u32(p.parts) * u32(p.channels) + channel) * u32(p.width);" : "",
    us.map((name) => `var ${name}: vec2f;`),
    sums.map((name) => `var ${name}: vec2f;`),
    prologue(row, buffers.half),
    eachRow(rowGradients(row, buffers.half, ragged, us, sums)),
    sumGradients(row, target, ragged, sums, buffers.half),
  );
  const written = ["du", ...(kase.gate ? ["dgate"] : []), ...(inSums ? ["sums"] : sumNames(kase))];
  const names = ["u", "g", ...spectrumOf(row), ...(kase.gate ? ["gate"] : []), "twiddles", ...written];
  const parameters = { ...parametersOf(kase, tuning.parts), ...(inSums && { width: sumsWidth(kase) }) };
  return rowPass(row, bound(names, buffers, TYPES, written), parameters, groups, body);
}

/** du and dgate of one row, and what it adds to the sums. */
function rowGradients(
  row: Row,
  half: ReadonlySet<string>,
  ragged: boolean,
  us: readonly string[],
  sums: readonly string[],
): Text {
  const { transform, kase } = row;
  const full = kase.L === transform.n;
  const store = (put: (position: string, value: string) => string): Text =>
    write(transform, "length", full, ragged, put);
  const rounded = (value: string, name: string): string => stored(value, { half: half.has(name) });
  const gateAt = (position: string): string => element(`gate[at + ${position}]`, half.has("gate"));
  const convolved = [
    multiply(row, false),
    inverse(row),
    store((position, value) => `dgate[at + ${position}] = ${rounded(`g[at + ${position}] * ${value}`, "dgate")};`),
  ];
  return [
    read(transform, "length", full, (position) => element(`u[at + ${position}]`, half.has("u"))),
    forward(row),
    us.map((name, k) => `${name} = ${transform.values[k]!};`),
    kase.gate ? convolved : transform.memory === "" ? "" : BARRIER,
    read(transform, "length", full, (position) => `g[at + ${position}]${kase.gate ? ` * ${gateAt(position)}` : ""}`),
    forward(row),
    sums.map((name, k) => `${name} += back(${transform.values[k]!}, ${us[k]!});`),
    multiply(row, true),
    inverse(row),
    store((position, value) => `du[at + ${position}] = ${rounded(value, "du")};`),
  ];
}

/** The sums transformed back: those of taps that look ahead are the conjugate of those that look back. */
function sumGradients(
  row: Row,
  target: Target,
  ragged: boolean,
  sums: readonly string[],
  half: ReadonlySet<string>,
): Text {
  const { transform, kase } = row;
  const { K, R, skip } = kase;
  const inSums = target === "sums";
  const scale = number(1 / transform.n);
  const gradient = (name: string, at: string, length: string, taps: number, turn: (sum: string) => string): Text => [
    transform.values.map((value, k) => `${value} = ${scale} * ${turn(sums[k]!)};`),
    BARRIER,
    inverse(row),
    write(
      transform,
      length,
      taps === transform.n,
      ragged,
      (position, value) => `${at} + ${position}] = ${stored(value, { half: !inSums && half.has(name) })};`,
    ),
  ];
  const back = inSums ? "sums[sumsOf" : "dk[channel * taps";
  const ahead = inSums ? `sums[sumsOf${K === undefined ? "" : " + taps"}` : "dkReverse[channel * tapsAhead";
  const direct = inSums ? "sums[sumsOf + u32(p.width) - 1u]" : "dskip[channel]";
  return [
    K === undefined ? "" : gradient("dk", back, "taps", K, (sum) => sum),
    R === undefined ? "" : gradient("dkReverse", ahead, "tapsAhead", R, (sum) => `conj(${sum})`),
    // both sums at lag 0
    skip ? `if (${ragged ? "(t == 0u) & live" : "t == 0u"}) { ${direct} = v0.x; }` : "",
  ];
}

/** The parts' sums added up. Buffers: `sums` [parts, D, width], dk, dkReverse, dskip. */
export function sumsPass(kase: RowCase, parts: number, buffers: RowBuffers): GpuPass {
  const { D, K, R } = kase;
  const width = sumsWidth(kase);
  const parameters = { size: D * width, width, parts, taps: K ?? 0, tapsAhead: R ?? 0 };
  const names = sumNames(kase);
  const { declarations, buffers: used } = bind(bound(["sums", ...names], buffers, TYPES, names), parameters);
  const rounded = (name: string): string => stored("total", { half: buffers.half.has(name) });
  const stores: Readonly<Record<string, string>> = {
    dk: `if (at < u32(p.taps)) { dk[channel * u32(p.taps) + at] = ${rounded("dk")}; }`,
    dkReverse: `if ((at >= u32(p.taps)) & (at < u32(p.taps + p.tapsAhead))) { dkReverse[channel * u32(p.tapsAhead) + at - u32(p.taps)] = ${rounded("dkReverse")}; }`,
    dskip: "if (at == u32(p.taps + p.tapsAhead)) { dskip[channel] = total; }",
  };
  const body = lines(
    "let i = group * 64u + thread;",
    "if (i >= u32(p.size)) { return; }",
    "var total = 0.0;",
    "for (var part = 0u; part < u32(p.parts); part++) { total += sums[part * u32(p.size) + i]; }",
    "let channel = i / u32(p.width);",
    "let at = i % u32(p.width);",
    names.map((name) => stores[name]!),
  );
  return {
    code: `${declarations}${entryPoint(64, body)}`,
    buffers: used,
    parameters,
    groups: Math.ceil((D * width) / 64),
  };
}
