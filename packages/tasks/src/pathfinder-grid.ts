/** Square grids of brightnesses or of room taken, and paddles to put on them. */

/** Row and column. */
export type Point = readonly [y: number, x: number];

/** A paddle as what it covers of the pixels around its beginning. */
export interface Paddle {
  readonly tail: Point;
  /** Shares, 0 .. 1, by pixel, of the line and of the room it needs. */
  readonly covers: readonly {
    readonly dy: number;
    readonly dx: number;
    readonly line: number;
    readonly room: number;
  }[];
}

/** What a line of a length and width along a unit vector covers, with a margin around it, sampled several times a pixel. */
export function paddleCovers(
  [wayY, wayX]: Point,
  length: number,
  thickness: number,
  margin: number,
  samples: number,
): Paddle["covers"] {
  const reach = length + Math.ceil(thickness) + margin;
  const covers: { dy: number; dx: number; line: number; room: number }[] = [];
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) {
      let [line, room] = [0, 0];
      for (let k = 0; k < samples * samples; k++) {
        const y = dy + ((k % samples) + 0.5) / samples - 0.5;
        const x = dx + (Math.floor(k / samples) + 0.5) / samples - 0.5;
        const along = Math.min(length, Math.max(0, y * wayY + x * wayX));
        const [offY, offX] = [y - along * wayY, x - along * wayX];
        const distance = Math.sqrt(offY * offY + offX * offX);
        if (distance <= thickness / 2 + 0.25) line++;
        if (distance <= thickness / 2 + 0.25 + margin) room++;
      }
      if (room > 0) covers.push({ dy, dx, line: line / samples ** 2, room: room / samples ** 2 });
    }
  return covers;
}

/** A square of numbers, zeros at first. */
export class Grid {
  readonly values: Float64Array;

  constructor(
    readonly side: number,
    values?: Float64Array,
  ) {
    this.values = values ?? new Float64Array(side * side);
  }

  copy(): Grid {
    return new Grid(this.side, this.values.slice());
  }

  has([y, x]: Point): boolean {
    return y >= 0 && x >= 0 && y < this.side && x < this.side;
  }

  at([y, x]: Point): number {
    return this.values[y * this.side + x]!;
  }

  /** The larger of what is there and a value. */
  raise([y, x]: Point, value: number): void {
    const place = y * this.side + x;
    this.values[place] = Math.max(this.values[place]!, value);
  }

  /** Ones along the edges, so many pixels wide. */
  border(width: number): void {
    for (let y = 0; y < this.side; y++)
      for (let x = 0; x < this.side; x++)
        if (Math.min(y, x, this.side - 1 - y, this.side - 1 - x) < width) this.raise([y, x], 1);
  }

  /** Draws a paddle's line, or the room that it takes. */
  cover({ tail, covers }: Paddle, what: "line" | "room", value: number): void {
    for (const cover of covers) {
      const place: Point = [tail[0] + cover.dy, tail[1] + cover.dx];
      if (this.has(place)) this.raise(place, value * cover[what]);
    }
  }

  /** The largest sum of what is there and the room of a paddle. */
  overlap({ tail, covers }: Paddle): number {
    let most = 0;
    for (const { dy, dx, room } of covers) {
      const place: Point = [tail[0] + dy, tail[1] + dx];
      if (this.has(place)) most = Math.max(most, room + this.at(place));
    }
    return most;
  }

  /** Where a paddle, given at (0, 0), can begin: all pixels that it covers as a whole are free. */
  placesFor({ covers }: Paddle): Point[] {
    const whole = covers.filter(({ room }) => room === 1);
    const places: Point[] = [];
    for (let y = 0; y < this.side; y++)
      for (let x = 0; x < this.side; x++)
        if (whole.every(({ dy, dx }) => this.has([y + dy, x + dx]) && this.at([y + dy, x + dx]) <= 0.3))
          places.push([y, x]);
    return places;
  }

  /** Share of pixels that are free. */
  emptyShare(): number {
    return this.values.filter((value) => value <= 0.3).length / this.values.length;
  }

  /** The largest value within a distance of a pixel. */
  largestNear([y, x]: Point, distance: number): number {
    let most = 0;
    for (let dy = -distance; dy <= distance; dy++)
      for (let dx = -distance; dx <= distance; dx++) {
        if (dy * dy + dx * dx > distance * distance || !this.has([y + dy, x + dx])) continue;
        most = Math.max(most, this.at([y + dy, x + dx]));
      }
    return most;
  }

  /** A dot of brightness 1. */
  disc([cy, cx]: Point, radius: number, samples: number): void {
    const reach = Math.ceil(radius) + 1;
    for (let y = cy - reach; y <= cy + reach; y++)
      for (let x = cx - reach; x <= cx + reach; x++) {
        let inside = 0;
        for (let k = 0; k < samples * samples; k++) {
          const dy = y + ((k % samples) + 0.5) / samples - 0.5 - cy;
          const dx = x + (Math.floor(k / samples) + 0.5) / samples - 0.5 - cx;
          if (dy * dy + dx * dx <= radius * radius) inside++;
        }
        if (this.has([y, x])) this.raise([y, x], inside / samples ** 2);
      }
  }
}
