/** Images of Pathfinder: snakes of paddles, grown paddle by paddle around what is there. */
import { cosine } from "./fourier.js";
import type { HostRandom } from "./host-random.js";
import { Grid, paddleCovers, type Paddle, type Point } from "./pathfinder-grid.js";

/** How images of a size look. */
export interface PathfinderStyle {
  /** Empty pixels around a paddle, one of these. */
  readonly margins: readonly number[];
  /** Pixels at the border that stay empty. */
  readonly padding: number;
  /** Length of a paddle. */
  readonly paddle: number;
  /** Radius of a dot. */
  readonly marker: number;
  /** Width of a paddle. */
  readonly thickness: number;
  /** Samples of a pixel along each axis. */
  readonly antialias: number;
  /** Distance of the beginnings of the two snakes. */
  readonly seedDistance: number;
  /** How straight snakes are; at least 1. */
  readonly continuity: number;
  /** Shorter snakes. */
  readonly distractors: number;
  /** Brightness of a snake, and a factor for the paddles of the two long ones. */
  readonly snakeContrast: number;
  /** See above. */
  readonly paddleContrast: number;
}

/** Tries beyond the first for a paddle, and for a short snake. */
const RETRIES = 2;
const SNAKE_RETRIES = 4;

/** A snake while it grows. */
interface Snake {
  /** Behind the beginning of its last paddle. */
  pivot: Point;
  /** The way its last paddle points, a unit vector. */
  way: Point;
  /** Its last paddle, which takes room once the next one is there. */
  last: Paddle;
  /** Where it begins, and where each paddle ends. */
  readonly path: Point[];
}

/** An image, and what is in it. */
export interface PathfinderImage {
  /** Brightnesses 0 .. 1, row by row. */
  readonly pixels: Float32Array;
  /** Whether the dots are the ends of one snake. */
  readonly joined: boolean;
  /** Of each long snake where it begins and where each of its paddles ends. */
  readonly paths: readonly [readonly Point[], readonly Point[]];
  /** The middles of the dots. */
  readonly dots: readonly [Point, Point];
}

/** An image of `side` by `side` pixels with two snakes of `contour` paddles. */
export function pathfinderImage(
  random: HostRandom,
  side: number,
  contour: number,
  style: PathfinderStyle,
): PathfinderImage {
  const joined = random.integer(2) === 1;
  const margin = style.margins[random.integer(style.margins.length)]!;
  const artist = new Artist(random, side, margin, style);
  let snakes = artist.twoSnakes(contour);
  while (!snakes) snakes = artist.twoSnakes(contour);
  for (let k = 0; k < style.distractors; k++)
    for (let tries = 0; tries <= SNAKE_RETRIES && !artist.shortSnake(Math.max(1, Math.floor(contour / 3))); tries++);
  const first = random.integer(2);
  const dots = [snakes[first]!.path[0]!, snakes[joined ? first : 1 - first]!.path.at(-1)!] as const;
  for (const dot of dots) artist.image.disc(dot, style.marker, style.antialias);
  const brightest = artist.image.values.reduce((most, value) => Math.max(most, value), 0);
  const pixels = Float32Array.from(artist.image.values, (value) => value / brightest);
  return { pixels, joined, paths: [snakes[0].path, snakes[1].path], dots };
}

/** Draws snakes on one image; `taken` is where no paddle may be. */
class Artist {
  image: Grid;
  private taken: Grid;
  private readonly shapes = new Map<string, Paddle["covers"]>();

  constructor(
    private readonly random: HostRandom,
    private readonly side: number,
    private readonly margin: number,
    private readonly style: PathfinderStyle,
  ) {
    this.image = new Grid(side);
    this.taken = new Grid(side);
  }

  /** The two long snakes on an empty image; undefined if one got stuck. */
  twoSnakes(contour: number): readonly [Snake, Snake] | undefined {
    const { padding, seedDistance, snakeContrast, paddleContrast } = this.style;
    const contrast = snakeContrast * paddleContrast;
    this.image = new Grid(this.side);
    this.taken = new Grid(this.side);
    this.taken.border(padding);
    const first = this.seed(contrast, 2 * seedDistance);
    const second = first && this.seedAround(first.path[0]!, contrast);
    if (!first || !second) return undefined;
    for (let k = 1; k < contour; k++)
      for (const snake of [first, second]) if (!this.extend(snake, contrast)) return undefined;
    this.taken.cover(second.last, "room", 1);
    return [first, second];
  }

  /** A short snake of so many paddles among what is there. @returns whether it found room; else nothing is drawn. */
  shortSnake(paddles: number): boolean {
    const before = [this.image.copy(), this.taken.copy()] as const;
    const snake = this.taken.emptyShare() < 0.01 ? undefined : this.seed(this.style.snakeContrast, 1);
    let grown = snake !== undefined;
    for (let k = 1; grown && k < paddles; k++) grown = this.extend(snake!, this.style.snakeContrast);
    if (grown) this.taken.cover(snake!.last, "room", 1);
    else [this.image, this.taken] = before;
    return grown;
  }

  /** A first paddle anywhere it has room, at least `border` from the edges. */
  private seed(contrast: number, border: number): Snake | undefined {
    const blocked = this.taken.copy();
    blocked.border(border);
    for (let tries = 0; tries <= RETRIES; tries++) {
      const way = unit(this.random.integer(360));
      const free = blocked.placesFor(this.paddleAt([0, 0], way));
      if (free.length === 0) return undefined;
      const snake = this.started(free[this.random.integer(free.length)]!, way, contrast);
      if (snake) return snake;
    }
    return undefined;
  }

  /** A first paddle at the seed distance from another one's beginning, whatever is there. */
  private seedAround([y, x]: Point, contrast: number): Snake | undefined {
    for (let tries = 0; tries <= RETRIES; tries++) {
      const way = unit(this.random.integer(360));
      const [dy, dx] = unit(this.random.integer(360));
      const { seedDistance } = this.style;
      const tail: Point = [Math.round(y + seedDistance * dy), Math.round(x + seedDistance * dx)];
      const snake = this.started(tail, way, contrast);
      if (snake) return snake;
    }
    return undefined;
  }

  private started(tail: Point, way: Point, contrast: number): Snake | undefined {
    const head = moved(tail, way, this.style.paddle);
    const pivot = moved(head, way, -(this.style.paddle + this.margin));
    if (!this.image.has(head) || !this.image.has(pivot) || !this.image.has(tail)) return undefined;
    const last = this.paddleAt(tail, way);
    this.image.cover(last, "line", contrast);
    return { pivot, way, last, path: [tail] };
  }

  /** One more paddle, roughly onwards. @returns whether it found room. */
  private extend(snake: Snake, contrast: number): boolean {
    const reach = this.style.paddle + this.margin;
    const pivot = moved(snake.pivot, snake.way, this.style.paddle + 2 * this.margin);
    const ends = this.endsAround(pivot, snake.way, reach);
    const total = ends.reduce((sum, { weight }) => sum + weight, 0);
    if (total < 1e-4) return false;
    for (let tries = 0; tries <= RETRIES; tries++) {
      let left = this.random.uniform() * total;
      const { end, way } = ends.find(({ weight }) => (left -= weight) < 0) ?? ends.at(-1)!;
      const next = this.paddleAt(end, [-way[0], -way[1]]);
      if (this.taken.overlap(next) >= 1.8) continue;
      this.image.cover(next, "line", contrast);
      this.taken.cover(snake.last, "room", 1);
      Object.assign(snake, { pivot, way, last: next });
      snake.path.push(end);
      return true;
    }
    return false;
  }

  /** Pixels on a circle around the pivot, weighted by how straight on they are and whether they are free. */
  private endsAround(pivot: Point, way: Point, reach: number): { end: Point; way: Point; weight: number }[] {
    const seen = new Set<number>();
    const ends: { end: Point; way: Point; weight: number }[] = [];
    const turn = 1 / (2 * Math.PI * reach);
    for (let angle = 0; angle < 1; angle += turn) {
      const [y, x] = [pivot[0] + reach * cosine(angle - 0.25), pivot[1] + reach * cosine(angle)];
      const end: Point = [Math.floor(y), Math.floor(x)];
      const place = end[0] * this.side + end[1];
      if (y < 0 || x < 0 || y >= this.side || x >= this.side || seen.has(place)) continue;
      seen.add(place);
      const [dy, dx] = [end[0] - pivot[0], end[1] - pivot[1]];
      const length = Math.sqrt(dy * dy + dx * dx);
      const on = length === 0 ? 0 : (dy * way[0] + dx * way[1]) / length;
      if (on <= 0) continue;
      const straight = straightness(on, this.style.continuity);
      const weight = (1 - this.taken.largestNear(end, this.margin)) * straight * straight;
      if (weight > 0) ends.push({ end, way: [dy / length, dx / length], weight });
    }
    return ends;
  }

  /** Paddles point in few ways, so that each is drawn once. */
  private paddleAt(tail: Point, way: Point): Paddle {
    const { paddle: length, thickness, antialias } = this.style;
    const name = way.join();
    const covers = this.shapes.get(name) ?? paddleCovers(way, length, thickness, this.margin, antialias);
    this.shapes.set(name, covers);
    return { tail, covers };
  }
}

/** The unit vector (y, x) of whole degrees. */
const unit = (degrees: number): Point => [cosine(degrees / 360 - 0.25), cosine(degrees / 360)];

/** Pixels are reached upwards, as in the source; what is whole but for rounding stays. */
const moved = ([y, x]: Point, [dy, dx]: Point, distance: number): Point => [
  Math.ceil(y + distance * dy - 1e-9),
  Math.ceil(x + distance * dx - 1e-9),
];

/** cos(min(continuity * angle, 90°)) of an angle whose cosine is given, above 0. */
function straightness(on: number, continuity: number): number {
  if (continuity === 1) return on;
  // The angle in turns by bisection: `Math.acos` may differ in its last bits between engines.
  let [low, high] = [0, 0.25];
  for (let k = 0; k < 20; k++) {
    const middle = (low + high) / 2;
    if (cosine(middle) > on) low = middle;
    else high = middle;
  }
  return cosine(Math.min(continuity * low, 0.25));
}
