/** Storing the values of a frame's points. */
import { i32, i32x4, v128, when, type Code, type Local } from "../wasm/emitter.js";
import type { Scratch, Vectors } from "../wasm/scratch.js";
import type { Cursors } from "./cursors.js";
import type { Frame } from "./scope.js";

/** Where an output lies: its cursor, and elements from one point of the vector axis to the next. */
interface Target {
  readonly dtype: string;
  readonly pointer: Code;
  readonly stride: number;
}

/** Stores an output's values at the points of a frame. */
export function storeOutput(
  s: Scratch,
  cursors: Cursors,
  output: { readonly number: number; readonly dtype: string; readonly vectorAxis: number },
  values: Vectors,
  frame: Frame,
): void {
  const { number, dtype, vectorAxis } = output;
  const stride = vectorAxis < 0 ? 0 : cursors.stridesOf(number)[vectorAxis]!;
  storeVectors(s, { dtype, stride, pointer: cursors.outputPointer(number) }, values, frame);
}

function storeVectors(s: Scratch, { dtype, pointer, stride }: Target, values: Vectors, frame: Frame): void {
  const inMemory = (code: Code): Code => (dtype === "bool" ? v128.and(code, i32x4.const(1)) : code);
  const [address, vector, rest] = [s.local("i32"), s.local("v128"), s.local("i32")];
  if (stride === 0) {
    s.body.push(v128.store32Lane(pointer, inMemory(values[0]!), 0));
    return;
  }
  const distance = stride === 1 ? frame.bytes.get : i32.mul(frame.bytes.get, i32.const(stride));
  s.body.push(address.set(i32.add(pointer, distance)));
  if (frame.end !== undefined) s.body.push(rest.set(i32.sub(frame.end.get, frame.i.get)));
  for (let k = 0; k < frame.unroll; k++) {
    const code = inMemory((values.length === 1 ? values[0] : values[k])!);
    if (stride === 1 && frame.end === undefined) {
      s.body.push(v128.store(address.get, code, 16 * k));
      continue;
    }
    s.body.push(vector.set(code));
    if (stride === 1) {
      const whole = v128.store(address.get, vector.get);
      s.body.push(when(i32.geS(rest.get, i32.const(4)), whole, storeSome(address, vector, rest)));
      continue;
    }
    for (const lane of [0, 1, 2, 3]) {
      const one = v128.store32Lane(address.get, vector.get, lane, 4 * stride * (4 * k + lane));
      s.body.push(frame.end === undefined || lane === 0 ? one : when(i32.gtS(rest.get, i32.const(lane)), one));
    }
  }
}

/** One, two or three lanes. */
const storeSome = (address: Local, vector: Local, rest: Local): Code =>
  when(
    i32.geS(rest.get, i32.const(2)),
    [
      v128.store64Lane(address.get, vector.get, 0),
      when(i32.eq(rest.get, i32.const(3)), v128.store32Lane(address.get, vector.get, 2, 8)),
    ],
    v128.store32Lane(address.get, vector.get, 0),
  );
