/**
 * Fragments for adapters without matrix units, so that tests compute what a kernel on matrix units would: the elements of a
 * sum are spread over the 32 threads of what would be a subgroup, each with the row of the left operand that it needs; right
 * operands are read where they lie in workgroup memory.
 */
import type { FragmentTexts, InBlock } from "@seqmix/tensor/wgsl";

const majors = { row_major: 0, col_major: 1 };

/** A vector's number, counted through all blocks. */
const numberOf = (at: number | string | InBlock): string =>
  typeof at === "object" ? `(i32(${at.block}) * ${at.length} + ${at.at})` : String(at);

/** Texts that compute what matrix units would, on any adapter: for tests. */
export const emulatedFragments: FragmentTexts = {
  declare(memory, length) {
    const vector = (at: string): string =>
      length === undefined ? `${memory}[${at}]` : `${memory}[(${at}) / ${length}][(${at}) % ${length}]`;
    return `struct Fragment { e: array<f32, 8> }
fn elementOf(o: vec3<i32>, row: i32, column: i32) -> f32 {
  let line = select(row, column, o.z == 1);
  let along = select(column, row, o.z == 1);
  let word = ${vector("o.x + line * o.y + along / 8")}[along / 2 % 4];
  return unpack2x16float(word)[along % 2];
}
fn leftOf(o: vec3<i32>, lane: i32) -> array<f32, 16> {
  var row: array<f32, 16>;
  for (var n = 0; n < 16; n++) { row[n] = elementOf(o, lane % 32 / 2, n); }
  return row;
}
fn multiplied(x: array<f32, 16>, z: vec3<i32>, s: Fragment, lane: i32) -> Fragment {
  var r = s;
  var row = x;
  for (var e = 0; e < 8; e++) {
    let column = lane % 2 * 8 + e;
    for (var n = 0; n < 16; n++) { r.e[e] += row[n] * elementOf(z, n, column); }
  }
  return r;
}
fn scaled(s: Fragment, by: f32) -> Fragment {
  var r = s;
  for (var e = 0; e < 8; e++) { r.e[e] *= by; }
  return r;
}
fn put(at: i32, pitch: i32, s: Fragment, lane: i32) {
  let first = at + lane % 32 / 2 * pitch + lane % 2 * 2;
  ${vector("first")} = bitcast<vec4<u32>>(vec4<f32>(s.e[0], s.e[1], s.e[2], s.e[3]));
  ${vector("first + 1")} = bitcast<vec4<u32>>(vec4<f32>(s.e[4], s.e[5], s.e[6], s.e[7]));
}
`;
  },
  zero: "Fragment()",
  builtin: [],
  subgroup: "(thread / 32u)",
  load(side, major, _memory, at, pitch) {
    const place = `vec3<i32>(${numberOf(at)}, ${pitch}, ${majors[major]})`;
    return side === "left" ? `leftOf(${place}, lane)` : place;
  },
  operand: (side) => (side === "left" ? "array<f32, 16>" : "vec3<i32>"),
  multiply: (left, right, sum) => `multiplied(${left}, ${right}, ${sum}, lane)`,
  scale: (sum, factor) => `scaled(${sum}, ${factor})`,
  largest: (x) => x,
  reporters: 32,
  directives: "",
  store: (memory, at, sum, pitch) =>
    memory === "tiles"
      ? `put(i32(${numberOf(at)}), i32(${pitch}), ${sum}, lane);`
      : `for (var e = 0; e < 8; e++) { ${memory}[i32(${numberOf(at)}) + lane % 32 / 2 * i32(${pitch}) + lane % 2 * 8 + e] = ${sum}.e[e]; }`,
};
