/** Forward passes of the convolution with one workgroup a row. */
import type { GpuPass } from "@seqmix/tensor/wgsl";
import { lines, type Text } from "./butterflies.js";
import {
  bound,
  eachRow,
  element,
  forward,
  head,
  inverse,
  kernelsOf,
  multiply,
  parametersOf,
  prologue,
  read,
  rowOf,
  rowPass,
  spectrum,
  spectrumAt,
  spectrumOf,
  TYPES,
  write,
  type RowBuffers,
  type RowCase,
  type RowTuning,
} from "./row-pass.js";
import type { RowTransform } from "./row-transform.js";

/** The transforms of the kernels into memory. Buffers: those of the kernels, `twiddles`, `spectrum`. */
export function spectrumPass(
  kase: RowCase,
  tuning: RowTuning,
  offsets: readonly number[],
  buffers: RowBuffers,
): GpuPass {
  const row = rowOf(kase, tuning, offsets);
  const { transform } = row;
  const names = transform.values.map((_, k) => `h${k}`);
  const { text, groups, ragged } = head(row, 1);
  const stores = names.flatMap((name, k) =>
    k % 2 === 1 ? [] : `spectrum[${spectrumAt(transform, k / 2)}] = vec4f(${name}, h${k + 1});`,
  );
  const body = lines(
    text,
    names.map((name) => `var ${name}: vec2f;`),
    spectrum(row, names, buffers.half),
    ragged ? ["if (live) {", stores, "}"] : stores,
  );
  const bindings = bound([...kernelsOf(kase), "twiddles", "spectrum"], buffers, TYPES, ["spectrum"]);
  return rowPass(row, bindings, parametersOf({ ...kase, B: 1 }, 1), groups, body);
}

/** Writes what comes behind a row, [.., taps - 1]: the rest of the real parts, then the imaginary ones. */
function writeTail(transform: RowTransform, live: boolean): Text {
  const put = (index: string, value: string): Text =>
    `{ let later = ${index}; if ((later < taps - 1u)${live ? " & live" : ""}) { tail[tailAt + later] = ${value}; } }`;
  return transform.atFirst((value, position) => [
    // where the position lies within the row the difference wraps around, beyond all tails
    put(`${position} - length`, `${value}.x`),
    put(`${position} + ${transform.n}u - length`, `${value}.y`),
  ]);
}

/** y = gate * (u * k + ...). Buffers: u, the kernels' or `spectrum`, gate, `twiddles`, y, and `tail` if that is asked for. */
export function forwardPass(
  kase: RowCase,
  tuning: RowTuning,
  offsets: readonly number[],
  buffers: RowBuffers,
  tail = false,
): GpuPass {
  const row = rowOf(kase, tuning, offsets);
  const { transform } = row;
  const { half } = buffers;
  const full = kase.L === transform.n;
  const written = tail ? ["y", "tail"] : ["y"];
  const { text, groups, ragged } = head(row, tuning.parts);
  const gated = (position: string): string =>
    kase.gate ? `${element(`gate[at + ${position}]`, half.has("gate"))} * ` : "";
  const body = lines(
    text,
    prologue(row, half),
    eachRow([
      read(transform, "length", full, (position) => element(`u[at + ${position}]`, half.has("u"))),
      forward(row),
      multiply(row, false),
      inverse(row, tail),
      tail ? ["let tailAt = at / length * (taps - 1u);", writeTail(transform, ragged)] : "",
      write(
        transform,
        "length",
        full,
        ragged,
        (position, value) => `y[at + ${position}] = ${gated(position)}${value};`,
      ),
    ]),
  );
  const bindings = bound(
    ["u", ...spectrumOf(row), ...(kase.gate ? ["gate"] : []), "twiddles", ...written],
    buffers,
    TYPES,
    written,
  );
  return rowPass(row, bindings, parametersOf(kase, tuning.parts), groups, body);
}
