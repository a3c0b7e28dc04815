/** A matrix as an image of squares. */
import { useEffect, useRef } from "preact/hooks";

/** What {@link HeatMap} draws. */
export interface HeatMapProps {
  /** Values, row by row. */
  readonly values: ArrayLike<number>;
  readonly rows: number;
  readonly columns: number;
  /** What a reader who cannot see it is told. */
  readonly label: string;
  /** The value that is drawn darkest; the largest by magnitude by default. */
  readonly largest?: number;
  /** A row that is framed. */
  readonly row?: number;
  /** Rows and columns between which a line is drawn, in cells. */
  readonly grid?: number;
  /** Whether negative values have a colour of their own. */
  readonly signed?: boolean;
}

/** Edge of a cell in device pixels, so that lines between cells can be drawn. */
const CELL = 12;

/** Draws values from the ground colour (0) to the accent (largest), negative ones to a second colour. */
export function HeatMap({ values, rows, columns, label, largest, row, grid, signed = false }: HeatMapProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const target = canvas.current!;
    const draw = (): void => paint(target, { values, rows, columns, largest, row, grid, signed });
    draw();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    return () => scheme.removeEventListener("change", draw);
  }, [values, rows, columns, largest, row, grid, signed]);
  return (
    <canvas
      ref={canvas}
      class="heat"
      role="img"
      aria-label={label}
      width={columns * CELL}
      height={rows * CELL}
      style={{ aspectRatio: `${columns} / ${rows}` }}
    />
  );
}

interface Painting {
  readonly values: ArrayLike<number>;
  readonly rows: number;
  readonly columns: number;
  readonly largest: number | undefined;
  readonly row: number | undefined;
  readonly grid: number | undefined;
  readonly signed: boolean;
}

function paint(canvas: HTMLCanvasElement, { values, rows, columns, largest, row, grid, signed }: Painting): void {
  const context = canvas.getContext("2d")!;
  const style = getComputedStyle(canvas);
  const color = (name: string): string => style.getPropertyValue(name).trim();
  const most = largest ?? Array.from(values).reduce((high, value) => Math.max(high, Math.abs(value)), 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (let k = 0; k < rows * columns; k++) {
    const value = values[k]!;
    context.globalAlpha = most > 0 ? Math.min(1, Math.abs(value) / most) : 0;
    context.fillStyle = signed && value < 0 ? color("--series-1") : color("--series-0");
    context.fillRect((k % columns) * CELL, Math.floor(k / columns) * CELL, CELL, CELL);
  }
  context.globalAlpha = 1;
  context.strokeStyle = color("--text");
  if (grid) {
    context.globalAlpha = 0.5;
    for (let at = grid; at < columns; at += grid) line(context, at * CELL, 0, at * CELL, rows * CELL);
    for (let at = grid; at < rows; at += grid) line(context, 0, at * CELL, columns * CELL, at * CELL);
    context.globalAlpha = 1;
  }
  if (row !== undefined) {
    context.lineWidth = Math.max(1, (columns * CELL) / 400);
    context.strokeRect(0.5, row * CELL + 0.5, columns * CELL - 1, CELL - 1);
  }
}

function line(context: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
