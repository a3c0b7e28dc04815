/**
 * WKV backward, from the last position to the first. With Z the logarithm of a position's denominator, the state behind
 * position t is G = sum_(s > t) e^((s - 1 - t) w - Z_s) dy_s, the same times y_s, and the derivatives H of both by w; all
 * times e^-exponent. What a position adds to dk and dv is e^(k + exponent) times it, at most 1 since Z_s holds e^(k + ..).
 */
import { bytesOf, type GpuPass, type GpuProgram } from "@seqmix/tensor/wgsl";
import { NOTHING, passOf, place, reads, walk, type Numbered, type Used, type WkvForm } from "./walk.js";

/** Planes [B, segments + 1, C] of the states: G, G y, H, H y, the exponent, whether a reset lies in the segment. */
const PLANES = 6;

const plane = "let plane = p.B * (p.segments + 1) * p.C;";
const clear = `g1 = 0.0; g2 = 0.0; h1 = 0.0; h2 = 0.0; pp = ${NOTHING};`;
const fresh = `var g1 = 0.0;
var g2 = 0.0;
var h1 = 0.0;
var h2 = 0.0;
var pp = ${NOTHING};`;

/** The state behind the position before: this position's cotangent comes in. */
const enter = (dy: string, y: string, Z: string): string => `let top = max(pp + decay, -${Z});
let kept = exp(pp + decay - top);
let own = exp(-${Z} - top) * ${dy};
h1 = kept * (h1 + g1);
h2 = kept * (h2 + g2);
g1 = kept * g1 + own;
g2 = kept * g2 + own * ${y};
pp = top;`;

const forget = (resets: boolean, t: string): string =>
  resets ? `\nif (resets[b * p.L + ${t}] != 0u) { ${clear} forgotten = 1.0; }` : "";

const put = (at: string): string =>
  ["g1", "g2", "h1", "h2", "pp"].map((name, k) => `states[${at} + ${k} * plane] = ${name};`).join("\n");

/** The state that a segment leaves before it, from none behind it. */
function segmentsPass(form: WkvForm, number: Numbered): GpuPass {
  const used = [
    ...reads(form, number, ["w", "y", "logSum", "dy"]),
    { name: "states", buffer: number("states"), written: true },
  ];
  return passOf(
    form,
    used,
    form.B * form.segments * form.C,
    `${place}
let decay = w[c];
${fresh}
var forgotten = 0.0;
${walk(["y", "logSum", "dy"], true, (value, _, t) => `${enter(value("dy"), value("y"), value("logSum"))}${forget(form.resets, t)}`)}
${plane}
let to = (b * (p.segments + 1) + segment) * p.C + c;
${put("to")}
states[to + 5 * plane] = forgotten;`,
  );
}

/** The states behind the segments, in place of those they leave; the one before the first position comes last. */
function carryPass(form: WkvForm, number: Numbered): GpuPass {
  return passOf(
    form,
    [
      { name: "w", buffer: number("w") },
      { name: "states", buffer: number("states"), written: true },
    ],
    form.B * form.C,
    `let c = i % p.C;
let b = i / p.C;
${plane}
${fresh}
for (var segment = p.segments - 1; segment >= 0; segment--) {
  let from_ = (b * (p.segments + 1) + segment) * p.C + c;
  let own = vec4<f32>(states[from_], states[from_ + plane], states[from_ + 2 * plane], states[from_ + 3 * plane]);
  let exponent = states[from_ + 4 * plane];
  let forgotten = states[from_ + 5 * plane];
  ${put("from_").replaceAll("\n", "\n  ")}
  if (forgotten != 0.0) { ${clear} }
  let steps = f32(min(p.length, p.L - segment * p.length));
  let decayed = pp + w[c] * steps;
  let top = max(decayed, exponent);
  let kept = exp(decayed - top);
  let added = exp(exponent - top);
  h1 = kept * (h1 + steps * g1) + added * own.z;
  h2 = kept * (h2 + steps * g2) + added * own.w;
  g1 = kept * g1 + added * own.x;
  g2 = kept * g2 + added * own.y;
  pp = top;
}
let to = (b * (p.segments + 1) + p.segments) * p.C + c;
${put("to")}`,
  );
}

/** dk, dv, and each segment's part of du and dw [2, B, segments, C]. */
function resultsPass(form: WkvForm, number: Numbered): GpuPass {
  const used = [
    ...reads(form, number, ["w", "u", "k", "v", "y", "logSum", "dy", "states"]),
    ...["dk", "dv", "parts"].map((name) => ({ name, buffer: number(name), written: true })),
  ];
  const step = (value: (name: string) => string, at: string, t: string): string => {
    const [k, v, y, Z, dy] = ["k", "v", "y", "logSum", "dy"].map(value) as [string, string, string, string, string];
    return `let now = exp(bonus + ${k} - ${Z}) * ${dy};
let past = exp(${k} + pp);
let gained = now * (${v} - ${y});
dv[${at}] = now + past * g1;
dk[${at}] = gained + past * (${v} * g1 - g2);
du += gained;
dw += past * (${v} * h1 - h2);
${enter(dy, y, Z)}${forget(form.resets, t)}`;
  };
  return passOf(
    form,
    used,
    form.B * form.segments * form.C,
    `${place}
${plane}
let from_ = (b * (p.segments + 1) + segment) * p.C + c;
let decay = w[c];
let bonus = u[c];
var g1 = states[from_];
var g2 = states[from_ + plane];
var h1 = states[from_ + 2 * plane];
var h2 = states[from_ + 3 * plane];
var pp = states[from_ + 4 * plane];
var du = 0.0;
var dw = 0.0;
${form.resets ? "var forgotten = 0.0;" : ""}
${walk(["k", "v", "y", "logSum", "dy"], true, step)}
let part = (b * p.segments + segment) * p.C + c;
parts[part] = du;
parts[part + p.B * p.segments * p.C] = dw;`,
  );
}

/** Sums of the parts; the decay's gradient has that of the initial state's exponent added. */
function sumsPass(form: WkvForm, number: Numbered): GpuPass {
  const given = form.carried ? ["aa0", "bb0", "pp0", "states"] : [];
  const used: Used[] = [
    ...["parts", ...given].map((name) => ({ name, buffer: number(name) })),
    ...["dw", "du"].map((name) => ({ name, buffer: number(name), written: true })),
  ];
  return passOf(
    form,
    used,
    form.C,
    `var du_ = 0.0;
var dw_ = 0.0;
let all = p.B * p.segments;
for (var n = 0; n < all; n++) {
  du_ += parts[n * p.C + i];
  dw_ += parts[(all + n) * p.C + i];
}
${
  form.carried
    ? `${plane}
for (var b = 0; b < p.B; b++) {
  let from_ = (b * (p.segments + 1) + p.segments) * p.C + i;
  let past = exp(pp0[b * p.C + i] + states[from_ + 4 * plane]);
  dw_ += past * (aa0[b * p.C + i] * states[from_ + 2 * plane] - bb0[b * p.C + i] * states[from_ + 3 * plane]);
}`
    : ""
}
du[i] = du_;
dw[i] = dw_;`,
  );
}

function initialPass(form: WkvForm, number: Numbered): GpuPass {
  const used: Used[] = [
    ...["aa0", "bb0", "pp0", "states"].map((name) => ({ name, buffer: number(name) })),
    ...["daa0", "dbb0", "dpp0"].map((name) => ({ name, buffer: number(name), written: true })),
  ];
  return passOf(
    form,
    used,
    form.B * form.C,
    `${plane}
let from_ = (i / p.C * (p.segments + 1) + p.segments) * p.C + i % p.C;
let past = exp(pp0[i] + states[from_ + 4 * plane]);
let g1 = past * states[from_];
let g2 = past * states[from_ + plane];
daa0[i] = g1;
dbb0[i] = -g2;
dpp0[i] = aa0[i] * g1 - bb0[i] * g2;`,
  );
}

/** Buffers by name: those of the forward pass but its states, dy, then dw, du, dk, dv, [daa0, dbb0, dpp0]; states, parts. */
export function backwardProgram(form: WkvForm, number: Numbered): GpuProgram {
  return {
    name: `backwards, ${form.segments} segment${form.segments === 1 ? "" : "s"} of ${form.length}`,
    passes: [
      segmentsPass(form, number),
      carryPass(form, number),
      resultsPass(form, number),
      sumsPass(form, number),
      ...(form.carried ? [initialPass(form, number)] : []),
    ],
    scratch: [bytesOf(PLANES * form.B * (form.segments + 1) * form.C), bytesOf(2 * form.B * form.segments * form.C)],
  };
}
