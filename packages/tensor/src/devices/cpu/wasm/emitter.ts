/**
 * A small byte emitter for WebAssembly modules with SIMD.
 *
 * An instruction is a nested array of bytes (`Code`): operands first, then the opcode. Functions named
 * like the instructions build it, so that code reads as an expression; it is flattened once, at the end.
 * Statements are code without a result; a body is an array of statements.
 *
 *     // export function run(args: i32, begin: i32, end: i32, scratch: i32): out[i] = a[i] + 1 for vectors i
 *     const f = functionBuilder(["i32", "i32", "i32", "i32"]);
 *     const [args, begin, end] = f.params;
 *     const a = f.local("i32"), out = f.local("i32");
 *     const body = [
 *       a.set(i32.load(args.get, 0)),
 *       out.set(i32.load(args.get, 4)),
 *       forLoop(begin, end, 1, [
 *         v128.store(i32.add(out.get, i32.shl(begin.get, i32.const(4))),
 *           f32x4.add(v128.load(i32.add(a.get, i32.shl(begin.get, i32.const(4)))), f32x4.const(1)), 0),
 *       ]),
 *     ];
 *     const bytes = buildModule({ memory: { shared: true }, functions: [f.finish("run", body)] });
 *
 * Code is plain data: using the same `Code` twice emits it twice. Keep a value that is used twice in a local.
 * Values of i32 addresses are unsigned; memory offsets are constants from 0 to 2^32 - 1, added without wrapping.
 */
export type Code = readonly (number | Code)[];
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";

// ---- numbers in the binary format ----

/** LEB128 of an unsigned 32-bit integer. */
const unsigned = (value: number): number[] => {
  const bytes: number[] = [];
  let rest = value >>> 0;
  while (rest > 127) {
    bytes.push((rest & 127) | 128);
    rest >>>= 7;
  }
  bytes.push(rest);
  return bytes;
};

/** LEB128 of a signed 32-bit integer. */
const signed = (value: number): number[] => {
  const bytes: number[] = [];
  let rest = value | 0;
  while (rest < -64 || rest > 63) {
    bytes.push((rest & 127) | 128);
    rest >>= 7;
  }
  bytes.push(rest & 127);
  return bytes;
};

const view = new DataView(new ArrayBuffer(8));
const fourBytes = (at = 0): number[] => [
  view.getUint8(at),
  view.getUint8(at + 1),
  view.getUint8(at + 2),
  view.getUint8(at + 3),
];
const f32Bytes = (value: number): number[] => (view.setFloat32(0, value, true), fourBytes());
const f64Bytes = (value: number): number[] => (view.setFloat64(0, value, true), [...fourBytes(), ...fourBytes(4)]);
const i32Bytes = (value: number): number[] => (view.setInt32(0, value, true), fourBytes());

// ---- shapes of instructions ----

const nullary =
  (...op: number[]) =>
  (): Code =>
    op;
const unary =
  (...op: number[]) =>
  (a: Code): Code => [a, op];
const binary =
  (...op: number[]) =>
  (a: Code, b: Code): Code => [a, b, op];
const simd = (op: number): number[] => [0xfd, ...unsigned(op)];
const simdUnary = (op: number) => unary(...simd(op));
const simdBinary = (op: number) => binary(...simd(op));
const simdTernary = (op: number) => {
  const bytes = simd(op);
  return (a: Code, b: Code, c: Code): Code => [a, b, c, bytes];
};
const extract = (op: number) => {
  const bytes = simd(op);
  return (a: Code, lane: number): Code => [a, ...bytes, lane];
};
const replace = (op: number) => {
  const bytes = simd(op);
  return (a: Code, lane: number, value: Code): Code => [a, value, ...bytes, lane];
};
/** `align` is the log2 of the promised alignment in bytes (a hint; 2 is right for all our buffers of 4-byte elements). */
const load =
  (align: number, ...op: number[]) =>
  (address: Code, offset = 0): Code => [address, op, align, unsigned(offset)];
const store =
  (align: number, ...op: number[]) =>
  (address: Code, value: Code, offset = 0): Code => [address, value, op, align, unsigned(offset)];
const loadLane = (align: number, op: number) => {
  const bytes = simd(op);
  return (address: Code, vector: Code, lane: number, offset = 0): Code => [
    address,
    vector,
    ...bytes,
    align,
    ...unsigned(offset),
    lane,
  ];
};

// ---- instructions ----

export const i32 = {
  const: (value: number): Code => [0x41, ...signed(value)],
  load: load(2, 0x28),
  load8u: load(0, 0x2d),
  store: store(2, 0x36),
  store8: store(0, 0x3a),
  eqz: unary(0x45),
  eq: binary(0x46),
  ne: binary(0x47),
  ltS: binary(0x48),
  ltU: binary(0x49),
  gtS: binary(0x4a),
  gtU: binary(0x4b),
  leS: binary(0x4c),
  leU: binary(0x4d),
  geS: binary(0x4e),
  geU: binary(0x4f),
  clz: unary(0x67),
  ctz: unary(0x68),
  popcnt: unary(0x69),
  add: binary(0x6a),
  sub: binary(0x6b),
  mul: binary(0x6c),
  divS: binary(0x6d),
  divU: binary(0x6e),
  remS: binary(0x6f),
  remU: binary(0x70),
  and: binary(0x71),
  or: binary(0x72),
  xor: binary(0x73),
  shl: binary(0x74),
  shrS: binary(0x75),
  shrU: binary(0x76),
  rotl: binary(0x77),
  rotr: binary(0x78),
  /** Toward zero; NaN gives 0, out of range saturates. */
  truncSatF32: unary(0xfc, 0),
  truncSatF32U: unary(0xfc, 1),
  truncSatF64: unary(0xfc, 2),
  truncSatF64U: unary(0xfc, 3),
  reinterpretF32: unary(0xbc),
  wrapI64: unary(0xa7),
} as const;

export const f32 = {
  const: (value: number): Code => [0x43, ...f32Bytes(value)],
  load: load(2, 0x2a),
  store: store(2, 0x38),
  eq: binary(0x5b),
  ne: binary(0x5c),
  lt: binary(0x5d),
  gt: binary(0x5e),
  le: binary(0x5f),
  ge: binary(0x60),
  abs: unary(0x8b),
  neg: unary(0x8c),
  ceil: unary(0x8d),
  floor: unary(0x8e),
  trunc: unary(0x8f),
  nearest: unary(0x90),
  sqrt: unary(0x91),
  add: binary(0x92),
  sub: binary(0x93),
  mul: binary(0x94),
  div: binary(0x95),
  min: binary(0x96),
  max: binary(0x97),
  copysign: binary(0x98),
  convertI32: unary(0xb2),
  convertI32U: unary(0xb3),
  demoteF64: unary(0xb6),
  reinterpretI32: unary(0xbe),
} as const;

export const f64 = {
  const: (value: number): Code => [0x44, ...f64Bytes(value)],
  load: load(3, 0x2b),
  store: store(3, 0x39),
  eq: binary(0x61),
  ne: binary(0x62),
  lt: binary(0x63),
  gt: binary(0x64),
  le: binary(0x65),
  ge: binary(0x66),
  abs: unary(0x99),
  neg: unary(0x9a),
  ceil: unary(0x9b),
  floor: unary(0x9c),
  trunc: unary(0x9d),
  nearest: unary(0x9e),
  sqrt: unary(0x9f),
  add: binary(0xa0),
  sub: binary(0xa1),
  mul: binary(0xa2),
  div: binary(0xa3),
  min: binary(0xa4),
  max: binary(0xa5),
  copysign: binary(0xa6),
  convertI32: unary(0xb7),
  convertI32U: unary(0xb8),
  promoteF32: unary(0xbb),
} as const;

export const v128 = {
  /** Sixteen bytes at any address. */
  load: load(2, ...simd(0)),
  store: store(2, ...simd(11)),
  /** One 4-byte (8-byte) element in every lane. */
  load32Splat: load(2, ...simd(9)),
  load64Splat: load(2, ...simd(10)),
  /** One 4-byte (8-byte) element in the first lane, zeros above. */
  load32Zero: load(2, ...simd(92)),
  load64Zero: load(2, ...simd(93)),
  /** `vector` with one lane loaded from memory. */
  load32Lane: loadLane(2, 86),
  load64Lane: loadLane(2, 87),
  store32Lane: loadLane(2, 90),
  store64Lane: loadLane(2, 91),
  not: simdUnary(77),
  and: simdBinary(78),
  /** a and not b. */
  andNot: simdBinary(79),
  or: simdBinary(80),
  xor: simdBinary(81),
  /** Bits of `a` where `mask` is set, of `b` elsewhere. */
  bitselect: simdTernary(82),
  anyTrue: simdUnary(83),
} as const;

export const i8x16 = {
  /** Lanes 0..15 are bytes of `a`, 16..31 of `b`. */
  shuffle: (a: Code, b: Code, lanes: readonly number[]): Code => [a, b, 0xfd, 13, lanes],
  swizzle: simdBinary(14),
} as const;

/** Shuffle of 4-byte lanes: 0..3 from `a`, 4..7 from `b`. */
export const shuffle32 = (a: Code, b: Code, l0: number, l1: number, l2: number, l3: number): Code =>
  i8x16.shuffle(
    a,
    b,
    [l0, l1, l2, l3].flatMap((lane) => [4 * lane, 4 * lane + 1, 4 * lane + 2, 4 * lane + 3]),
  );

export const i32x4 = {
  /** One value in all lanes, or four. */
  const: (a: number, ...rest: [] | [number, number, number]): Code => [
    0xfd,
    12,
    ...(rest.length === 0 ? [a, a, a, a] : [a, ...rest]).map(i32Bytes),
  ],
  splat: simdUnary(17),
  extractLane: extract(27),
  replaceLane: replace(28),
  eq: simdBinary(55),
  ne: simdBinary(56),
  ltS: simdBinary(57),
  ltU: simdBinary(58),
  gtS: simdBinary(59),
  gtU: simdBinary(60),
  leS: simdBinary(61),
  leU: simdBinary(62),
  geS: simdBinary(63),
  geU: simdBinary(64),
  abs: simdUnary(160),
  neg: simdUnary(161),
  allTrue: simdUnary(163),
  bitmask: simdUnary(164),
  /** Shift counts are scalar i32, taken modulo 32. */
  shl: simdBinary(171),
  shrS: simdBinary(172),
  shrU: simdBinary(173),
  add: simdBinary(174),
  sub: simdBinary(177),
  mul: simdBinary(181),
  minS: simdBinary(182),
  minU: simdBinary(183),
  maxS: simdBinary(184),
  maxU: simdBinary(185),
  /** Toward zero; NaN gives 0, out of range saturates. */
  truncSatF32x4: simdUnary(248),
  truncSatF32x4U: simdUnary(249),
} as const;

export const i64x2 = {
  splat: simdUnary(18),
  shl: simdBinary(203),
  shrS: simdBinary(204),
  shrU: simdBinary(205),
  add: simdBinary(206),
  sub: simdBinary(209),
  mul: simdBinary(213),
} as const;

export const f32x4 = {
  /** One value in all lanes, or four. */
  const: (a: number, ...rest: [] | [number, number, number]): Code => {
    const [b, c, d] = rest.length > 0 ? rest : [a, a, a];
    return [0xfd, 12, f32Bytes(a), f32Bytes(b as number), f32Bytes(c as number), f32Bytes(d as number)];
  },
  splat: simdUnary(19),
  extractLane: extract(31),
  replaceLane: replace(32),
  eq: simdBinary(65),
  ne: simdBinary(66),
  lt: simdBinary(67),
  gt: simdBinary(68),
  le: simdBinary(69),
  ge: simdBinary(70),
  ceil: simdUnary(103),
  floor: simdUnary(104),
  trunc: simdUnary(105),
  nearest: simdUnary(106),
  abs: simdUnary(224),
  neg: simdUnary(225),
  sqrt: simdUnary(227),
  add: simdBinary(228),
  sub: simdBinary(229),
  mul: simdBinary(230),
  div: simdBinary(231),
  /** NaN if either is; several instructions. */
  min: simdBinary(232),
  max: simdBinary(233),
  /** b < a ? b : a, and a < b ? b : a: one instruction; a NaN in `a` is kept, in `b` lost. */
  pmin: simdBinary(234),
  pmax: simdBinary(235),
  convertI32x4: simdUnary(250),
  convertI32x4U: simdUnary(251),
  demoteF64x2Zero: simdUnary(94),
  /** a * b + c and c - a * b with one or two roundings. Relaxed SIMD: off in Node 20, detect before use. */
  relaxedMadd: simdTernary(0x105),
  relaxedNmadd: simdTernary(0x106),
} as const;

export const f64x2 = {
  const: (a: number, b = a): Code => [0xfd, 12, f64Bytes(a), f64Bytes(b)],
  splat: simdUnary(20),
  extractLane: extract(33),
  replaceLane: replace(34),
  eq: simdBinary(71),
  ne: simdBinary(72),
  lt: simdBinary(73),
  gt: simdBinary(74),
  le: simdBinary(75),
  ge: simdBinary(76),
  ceil: simdUnary(116),
  floor: simdUnary(117),
  trunc: simdUnary(122),
  nearest: simdUnary(148),
  abs: simdUnary(236),
  neg: simdUnary(237),
  sqrt: simdUnary(239),
  add: simdBinary(240),
  sub: simdBinary(241),
  mul: simdBinary(242),
  div: simdBinary(243),
  min: simdBinary(244),
  max: simdBinary(245),
  pmin: simdBinary(246),
  pmax: simdBinary(247),
  convertLowI32x4: simdUnary(254),
  promoteLowF32x4: simdUnary(95),
} as const;

export const memory = {
  copy: (to: Code, from: Code, bytes: Code): Code => [to, from, bytes, 0xfc, 10, 0, 0],
  fill: (to: Code, value: Code, bytes: Code): Code => [to, value, bytes, 0xfc, 11, 0],
} as const;

/** `a` if the condition is not 0, else `b`; both are computed. Of numbers, and of vectors. */
export const select = (a: Code, b: Code, condition: Code): Code => [a, b, condition, 0x1b];
export const selectV128 = (a: Code, b: Code, condition: Code): Code => [a, b, condition, 0x1c, 1, 0x7b];
export const drop = unary(0x1a);
export const unreachable = nullary(0x00);

// ---- control flow: a branch counts enclosing blocks, loops and ifs outward from 0 ----

const typeByte: Readonly<Record<ValueType, number>> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** A branch to a block leaves it. */
export const block = (body: Code): Code => [0x02, 0x40, body, 0x0b];
/** A branch to a loop starts it again; falling off its end leaves it. */
export const loop = (body: Code): Code => [0x03, 0x40, body, 0x0b];
export const br = (depth: number): Code => [0x0c, ...unsigned(depth)];
export const brIf = (depth: number, condition: Code): Code => [condition, 0x0d, ...unsigned(depth)];
export const ret = nullary(0x0f);
export const when = (condition: Code, then: Code, otherwise?: Code): Code => [
  condition,
  0x04,
  0x40,
  then,
  ...(otherwise === undefined ? [] : [0x05, otherwise]),
  0x0b,
];
/** Either value; only the chosen one is computed. */
export const choose = (type: ValueType, condition: Code, then: Code, otherwise: Code): Code => [
  condition,
  0x04,
  typeByte[type],
  then,
  0x05,
  otherwise,
  0x0b,
];

/** while (condition) body. */
export const whileLoop = (condition: Code, body: Code): Code => [
  block([brIf(0, i32.eqz(condition)), loop([body, brIf(0, condition)])]),
];

/** for (; i < end; i += step) body, with signed comparison: set `i` before. */
export const forLoop = (i: Local, end: Local | number, step: number, body: Code): Code =>
  whileLoop(i32.ltS(i.get, typeof end === "number" ? i32.const(end) : end.get), [
    body,
    i.set(i32.add(i.get, i32.const(step))),
  ]);

// ---- functions and modules ----

export interface Local {
  readonly type: ValueType;
  readonly get: Code;
  readonly set: (value: Code) => Code;
  /** Sets and gives the value. */
  readonly tee: (value: Code) => Code;
}

export interface WasmFunction {
  readonly name: string;
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly locals: readonly ValueType[];
  readonly body: Code;
}

export interface FunctionBuilder<Params extends readonly ValueType[]> {
  readonly params: { readonly [K in keyof Params]: Local };
  /** A new local, 0 when the function starts. */
  readonly local: (type: ValueType) => Local;
  readonly finish: (name: string, body: Code) => WasmFunction;
}

export function functionBuilder<const Params extends readonly ValueType[]>(
  params: Params,
  results: readonly ValueType[] = [],
): FunctionBuilder<Params> {
  const locals: ValueType[] = [];
  const localAt = (type: ValueType, index: number): Local => {
    const bytes = unsigned(index);
    return {
      type,
      get: [0x20, ...bytes],
      set: (value) => [value, 0x21, ...bytes],
      tee: (value) => [value, 0x22, ...bytes],
    };
  };
  return {
    params: params.map(localAt) as unknown as { readonly [K in keyof Params]: Local },
    local: (type) => localAt(type, params.length + locals.push(type) - 1),
    finish: (name, body) => ({ name, params, results, locals: [...locals], body }),
  };
}

export interface ModuleDescription {
  /** Imported as `env.memory`; shared memory is declared with the largest maximum, 65536 pages, unshared memory with none. */
  readonly memory: { readonly shared: boolean };
  /** All of them exported under their names; called among each other by position with `call`. */
  readonly functions: readonly WasmFunction[];
}

/** Calls the function at this position of the module's `functions`. */
export const call = (position: number, ...args: readonly Code[]): Code => [...args, 0x10, ...unsigned(position)];

export function buildModule({ memory: { shared }, functions }: ModuleDescription): Uint8Array<ArrayBuffer> {
  const signatures = functions.map((f) => [
    0x60,
    ...vector(f.params.map((t) => [typeByte[t]])),
    ...vector(f.results.map((t) => [typeByte[t]])),
  ]);
  const importedMemory = [
    ...text("env"),
    ...text("memory"),
    0x02,
    ...(shared ? [0x03, 0, ...unsigned(65536)] : [0x00, 0]),
  ];
  return new Uint8Array(
    [
      0x00,
      0x61,
      0x73,
      0x6d,
      1,
      0,
      0,
      0,
      ...section(1, vector(signatures)),
      ...section(2, vector([importedMemory])),
      ...section(3, vector(functions.map((_, i) => unsigned(i)))),
      ...section(7, vector(functions.map((f, i) => [...text(f.name), 0x00, ...unsigned(i)]))),
    ].concat(codeSection(functions)),
  );
}

function codeSection(functions: readonly WasmFunction[]): number[] {
  const bodies = functions.map((f) => {
    const runs: { type: ValueType; count: number }[] = [];
    for (const type of f.locals) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ type, count: 1 });
    }
    const bytes = vector(runs.map((run) => [...unsigned(run.count), typeByte[run.type]]));
    flatten(f.body, bytes);
    bytes.push(0x0b);
    return unsigned(bytes.length).concat(bytes);
  });
  const all = unsigned(functions.length).concat(...bodies);
  return [10, ...unsigned(all.length)].concat(all);
}

function flatten(code: Code, into: number[]): void {
  for (let k = 0; k < code.length; k++) {
    const part = code[k] as number | Code;
    if (typeof part === "number") into.push(part);
    else flatten(part, into);
  }
}

const vector = (items: readonly (readonly number[])[]): number[] => [...unsigned(items.length), ...items.flat()];
const text = (value: string): number[] => [...unsigned(value.length), ...Array.from(value, (c) => c.charCodeAt(0))];
const section = (id: number, bytes: readonly number[]): number[] => [id, ...unsigned(bytes.length), ...bytes];
