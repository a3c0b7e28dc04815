/** Loops inside a row, over reduced axes and tiles: they move the cursors on, and back at their end. */
import { brIf, i32, loop, select, type Code, type Local } from "../wasm/emitter.js";
import type { Scratch } from "../wasm/scratch.js";
import type { Cursors } from "./cursors.js";

/** Where a loop moves cursors: the code is filled in once all cursors are known. */
interface Move {
  readonly axis: number;
  readonly forward: Code[];
  readonly back: Code[];
  /** Points that a turn moves on by, and turns; one by one along the whole axis where there are none. */
  readonly blocks?: { readonly step: number; readonly count: number };
}

export class InnerLoops {
  readonly #s: Scratch;
  readonly #all: readonly number[];
  /** The axis of a tile of rows, and how many of them are left. */
  readonly #tile: { readonly axis: number | undefined; readonly rows: Local };
  readonly #moves: Move[] = [];

  constructor(s: Scratch, all: readonly number[], tile: { readonly axis: number | undefined; readonly rows: Local }) {
    this.#s = s;
    this.#all = all;
    this.#tile = tile;
  }

  /** A loop over each of the axes, the last one innermost. */
  over(axes: readonly number[], body: () => void): void {
    const [first, ...rest] = axes;
    if (first === undefined) return body();
    const s = this.#s;
    const count = s.local("i32");
    const extent = first === this.#tile.axis ? this.#tile.rows.get : i32.const(this.#all[first]!);
    const { forward, back } = this.#move(first);
    const inside = this.#apart(() => this.over(rest, body));
    s.body.push(count.set(extent), loop([inside, forward, brIf(0, count.tee(i32.sub(count.get, i32.const(1))))]), back);
  }

  /** A loop over an axis by blocks of `most` points; `length` is how many the next one has. */
  inBlocks(axis: number, most: number, length: Local, body: () => void): void {
    const s = this.#s;
    const extent = this.#all[axis]!;
    const done = s.local("i32");
    const { forward, back } = this.#move(axis, { step: most, count: Math.ceil(extent / most) });
    const inside = this.#apart(() => {
      const left = i32.sub(i32.const(extent), done.get);
      s.body.push(length.set(select(left, i32.const(most), i32.ltS(left, i32.const(most)))));
      body();
    });
    s.body.push(
      done.set(i32.const(0)),
      loop([inside, forward, brIf(0, i32.ltS(done.tee(i32.add(done.get, i32.const(most))), i32.const(extent)))]),
      back,
    );
  }

  /** To be called when all cursors are known: their steps. */
  finish(cursors: Cursors): void {
    const inOrder = [...this.#moves.filter(({ blocks }) => !blocks), ...this.#moves.filter(({ blocks }) => blocks)];
    for (const { axis, forward, back, blocks } of inOrder) {
      const step = blocks?.step ?? 1;
      const whole = blocks ? step * blocks.count : this.#all[axis]!;
      forward.push(cursors.step((c) => step * c[axis]!));
      if (axis === this.#tile.axis) back.push(...cursors.stepBack(axis, this.#tile.rows));
      else back.push(cursors.step((c) => -whole * c[axis]!));
    }
  }

  #move(axis: number, blocks?: Move["blocks"]): Move {
    const move = { axis, forward: [], back: [], ...(blocks && { blocks }) };
    this.#moves.push(move);
    return move;
  }

  /** The statements that `write` appends. */
  #apart(write: () => void): Code[] {
    const s = this.#s;
    const outside = s.body;
    const inside: Code[] = (s.body = []);
    write();
    s.body = outside;
    return inside;
  }
}
