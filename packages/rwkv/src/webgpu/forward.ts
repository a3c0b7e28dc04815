/**
 * WKV forward: what each segment of a sequence does to a state, the states before the segments, the results. A state is two
 * sums times e^-exponent, the exponent the largest so far, so that no power exceeds 1.
 */
import { bytesOf, type GpuProgram } from "@seqmix/tensor/wgsl";
import { NOTHING, passOf, place, reads, walk, type Numbered, type Used, type WkvForm } from "./walk.js";

/** Planes of the states' buffer, each [B, segments, C]: both sums, the exponent, whether a reset lies in the segment. */
const PLANES = 4;

const state = `let plane = p.B * p.segments * p.C;
let from_ = (b * p.segments + segment) * p.C + c;`;

const forget = (resets: boolean, t: string): string =>
  resets ? `if (resets[b * p.L + ${t}] != 0u) { aa = 0.0; bb = 0.0; pp = ${NOTHING}; forgotten = 1.0; }\n` : "";

/** A position goes into the state. */
const enter = (k: string, v: string): string => `let top = max(pp + decay, ${k});
let kept = exp(pp + decay - top);
let fresh = exp(${k} - top);
aa = kept * aa + fresh * ${v};
bb = kept * bb + fresh;
pp = top;`;

/** The state that a segment leaves behind from none. */
function segmentsPass(form: WkvForm, number: Numbered): GpuProgram["passes"][number] {
  const used: Used[] = [
    ...reads(form, number, ["w", "k", "v"]),
    { name: "states", buffer: number("states"), written: true },
  ];
  return passOf(
    form,
    used,
    form.B * form.segments * form.C,
    `${place}
let decay = w[c];
var aa = 0.0;
var bb = 0.0;
var pp = ${NOTHING};
var forgotten = 0.0;
${walk(["k", "v"], false, (value, _, t) => `${forget(form.resets, t)}${enter(value("k"), value("v"))}`)}
${state}
states[from_] = aa;
states[from_ + plane] = bb;
states[from_ + 2 * plane] = pp;
states[from_ + 3 * plane] = forgotten;`,
  );
}

/** The states before the segments, in place of those they leave; and the last one. */
function carryPass(form: WkvForm, number: Numbered): GpuProgram["passes"][number] {
  const given = form.carried ? ["aa0", "bb0", "pp0"] : [];
  const used: Used[] = [
    ...["w", ...given].map((name) => ({ name, buffer: number(name) })),
    ...["states", "aaT", "bbT", "ppT"].map((name) => ({ name, buffer: number(name), written: true })),
  ];
  return passOf(
    form,
    used,
    form.B * form.C,
    `let c = i % p.C;
let b = i / p.C;
let plane = p.B * p.segments * p.C;
var aa = ${form.carried ? "aa0[i]" : "0.0"};
var bb = ${form.carried ? "bb0[i]" : "0.0"};
var pp = ${form.carried ? "pp0[i]" : NOTHING};
for (var segment = 0; segment < p.segments; segment++) {
  let from_ = (b * p.segments + segment) * p.C + c;
  let own = vec4<f32>(states[from_], states[from_ + plane], states[from_ + 2 * plane], states[from_ + 3 * plane]);
  states[from_] = aa;
  states[from_ + plane] = bb;
  states[from_ + 2 * plane] = pp;
  if (own.w != 0.0) { aa = 0.0; bb = 0.0; pp = ${NOTHING}; }
  let steps = f32(min(p.length, p.L - segment * p.length));
  let decayed = pp + w[c] * steps;
  let top = max(decayed, own.z);
  let kept = exp(decayed - top);
  let fresh = exp(own.z - top);
  aa = kept * aa + fresh * own.x;
  bb = kept * bb + fresh * own.y;
  pp = top;
}
aaT[i] = aa;
bbT[i] = bb;
ppT[i] = pp;`,
  );
}

function resultsPass(form: WkvForm, number: Numbered): GpuProgram["passes"][number] {
  const used: Used[] = [
    ...reads(form, number, ["w", "u", "k", "v"]),
    { name: "states", buffer: number("states") },
    { name: "y", buffer: number("y"), written: true },
    { name: "logSum", buffer: number("logSum"), written: true },
  ];
  const step = (value: (name: string) => string, at: string, t: string): string =>
    `${forget(form.resets, t)}let own = bonus + ${value("k")};
let most = max(pp, own);
let past = exp(pp - most);
let now = exp(own - most);
let total = past * bb + now;
y[${at}] = (past * aa + now * ${value("v")}) / total;
logSum[${at}] = most + log(total);
${enter(value("k"), value("v"))}`;
  return passOf(
    form,
    used,
    form.B * form.segments * form.C,
    `${place}
${state}
let decay = w[c];
let bonus = u[c];
var aa = states[from_];
var bb = states[from_ + plane];
var pp = states[from_ + 2 * plane];
${form.resets ? "var forgotten = 0.0;" : ""}
${walk(["k", "v"], false, step)}`,
  );
}

/** Buffers by name: w, u, k, v, [aa0, bb0, pp0], [resets]; y, aaT, bbT, ppT, logSum; states. */
export function forwardProgram(form: WkvForm, number: Numbered): GpuProgram {
  return {
    name: `three passes, ${form.segments} segment${form.segments === 1 ? "" : "s"} of ${form.length}`,
    passes: [segmentsPass(form, number), carryPass(form, number), resultsPass(form, number)],
    scratch: [bytesOf(PLANES * form.B * form.segments * form.C)],
  };
}
