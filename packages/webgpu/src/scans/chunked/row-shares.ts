/** Sums over a tile's rows and columns on matrix units: a thread's shares go through workgroup memory. */
import { matrixThreads, type MatrixTile, type SumNames } from "./tile.js";

/** One more than there are vectors of a row, against bank conflicts. */
const pitchOf = ({ columns }: MatrixTile): number => columns / 4 + 1;

/** Declarations. */
export const rowSharesModule = (tile: MatrixTile): string =>
  `var<workgroup> shares: array<f32, ${tile.rows * pitchOf(tile)}>;\n`;
export const columnSharesModule = (tile: MatrixTile): string =>
  `var<workgroup> columnShares: array<vec4<f32>, ${(sharers(tile) * tile.columns) / 4}>;\n`;

/** A row's share of a thread. */
export const rowShare = (tile: MatrixTile, { row, columns }: SumNames["rows"][0], share: string): string =>
  `shares[${row} * ${pitchOf(tile)} + ${columns[0]} / 4] = ${share};`;

/** Statements behind a barrier, for the sum of each row. */
export const rowTotals = (tile: MatrixTile, use: (row: string, sum: string) => string): string =>
  `for (var row = lane; row < ${tile.rows}; row += ${matrixThreads(tile)}) {
  var sum = 0.0;
  for (var k = 0; k < ${tile.columns / 4}; k++) { sum += shares[row * ${pitchOf(tile)} + k]; }
  ${use("row", "sum")}
}`;

/** Threads that have shares of the same columns. */
const sharers = ({ rows, block }: MatrixTile): number => (rows / block.rows) * (128 / block.columns);

/** The share of a thread in its four columns, for the sum of each column. */
export const columnShare = (tile: MatrixTile, share: string): string =>
  `columnShares[(own / ${tile.columns / tile.block.columns} * ${128 / tile.block.columns} + stripRow) * ${tile.columns / 4} + blockColumn / 4 + quad] = ${share};`;

/** Statements behind a barrier, for the sum of each row and of each column: a number `sum` of a `line`. */
export const lineTotals = (tile: MatrixTile, ofRow: string, ofColumn: string): string =>
  `for (var n = lane; n < ${tile.rows + tile.columns}; n += ${matrixThreads(tile)}) {
  var sum = 0.0;
  if (n < ${tile.rows}) {
    let line = n;
    for (var k = 0; k < ${tile.columns / 4}; k++) { sum += shares[line * ${pitchOf(tile)} + k]; }
    ${ofRow}
  } else {
    let line = n - ${tile.rows};
    for (var k = 0; k < ${sharers(tile)}; k++) { sum += columnShares[k * ${tile.columns / 4} + line / 4][line % 4]; }
    ${ofColumn}
  }
}`;
