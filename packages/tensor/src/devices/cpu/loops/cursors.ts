/** Addresses and indices of a phase: locals that are computed where it begins, and stepped from row to row. */
import type { Affine, LoopKernel } from "../../../ir/loop.js";
import { product } from "../../../ir/simplify.js";
import { i32, type Code, type Local } from "../wasm/emitter.js";
import type { Scratch } from "../wasm/scratch.js";

/** A buffer: its position among the function's arguments, and bytes to add to that address. */
export interface Binding {
  readonly position: number;
  readonly offset: number;
}

/** A local that follows scale * index, plus an address. */
interface Cursor {
  readonly local: Local;
  readonly start: Code;
  readonly coefficients: readonly number[];
}

/** A count that moves an axis on by `factor` at a time. */
export interface Counted {
  readonly axis: number;
  readonly factor: number;
  readonly count: Local;
}

export class Cursors {
  readonly #kernel: LoopKernel;
  readonly #inputs: readonly Binding[];
  readonly #outputs: readonly Binding[];
  readonly #local: Scratch["local"];
  readonly #bases = new Map<number, Local>();
  readonly #known = new Map<string, Cursor>();
  readonly #rowMajor: readonly number[];

  constructor(kernel: LoopKernel, inputs: readonly Binding[], outputs: readonly Binding[], local: Scratch["local"]) {
    this.#kernel = kernel;
    this.#inputs = inputs;
    this.#outputs = outputs;
    this.#local = local;
    const { extents, reduceExtents } = kernel;
    this.#rowMajor = [...extents.map((_, k) => product(extents.slice(k + 1))), ...reduceExtents.map(() => 0)];
  }

  /** The address of a buffer. */
  base(binding: Binding, bytes = 0): Code {
    const local = this.#bases.get(binding.position) ?? this.#local("i32");
    this.#bases.set(binding.position, local);
    return binding.offset + bytes === 0 ? local.get : i32.add(local.get, i32.const(binding.offset + bytes));
  }

  inputBase(input: number): Code {
    return this.base(this.#inputs[input]!);
  }

  /** start + scale * index, where the vector axis counts as 0; one local for all that have a key. */
  at(key: string, index: Affine, scale: number, start: () => Code): Code {
    const coefficients = index.coefficients.map((c) => c * scale);
    const full = `${key}|${index.offset}|${coefficients.join()}`;
    let known = this.#known.get(full);
    if (known === undefined) {
      known = { local: this.#local("i32"), start: start(), coefficients };
      this.#known.set(full, known);
    }
    return known.local.get;
  }

  /** Where element `index` of an input lies. */
  readonly pointer = (input: number, index: Affine): Code =>
    this.at(`input${input}`, index, 4, () => this.base(this.#inputs[input]!, 4 * index.offset));

  /** The index itself. */
  readonly value = (index: Affine): Code =>
    index.coefficients.every((c) => c === 0)
      ? i32.const(index.offset)
      : this.at("value", index, 1, () => i32.const(index.offset));

  /** Elements of an output from one point of each axis to the next. */
  stridesOf(output: number): readonly number[] {
    return this.#kernel.outputs[output]!.index?.coefficients ?? this.#rowMajor;
  }

  outputPointer(output: number): Code {
    return this.at(`output${output}`, { offset: 0, coefficients: this.stridesOf(output) }, 4, () =>
      this.base(this.#outputs[output]!, 4 * (this.#kernel.outputs[output]!.index?.offset ?? 0)),
    );
  }

  /** Reads the buffers' addresses from the arguments. */
  loadBases(args: Local): Code[] {
    return [...this.#bases].map(([position, local]) => local.set(i32.load(args.get, 4 * position)));
  }

  /** Puts all cursors where the counts stand. */
  begin(counts: readonly Counted[]): Code[] {
    return [...this.#known.values()].map(({ local, start, coefficients }) =>
      local.set(
        counts
          .map(({ axis, factor, count }) => ({ c: coefficients[axis]! * factor, count }))
          .reduce((sum: Code, { c, count }) => (c === 0 ? sum : i32.add(sum, i32.mul(count.get, i32.const(c)))), start),
      ),
    );
  }

  /** Moves all cursors on by what `distance` makes of their coefficients. */
  step(distance: (coefficients: readonly number[]) => number): Code[] {
    return [...this.#known.values()].flatMap(({ local, coefficients }) => {
      const bytes = distance(coefficients);
      return bytes === 0 ? [] : [local.set(i32.add(local.get, i32.const(bytes)))];
    });
  }

  /** Moves all cursors back along an axis by as many points as a local says. */
  stepBack(axis: number, points: Local): Code[] {
    return [...this.#known.values()].flatMap(({ local, coefficients }) => {
      const c = coefficients[axis]!;
      return c === 0 ? [] : [local.set(i32.sub(local.get, i32.mul(points.get, i32.const(c))))];
    });
  }
}
