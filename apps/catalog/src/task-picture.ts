/** An example as a picture, SVG. */

const [WIDTH, HEIGHT, MARGIN] = [640, 200, 12];

/** A series and the one that is due: at every position, or for its end. */
export function drawSeries(inputs: readonly number[], targets: readonly number[], everywhere: boolean): string {
  const values = [...inputs, ...targets];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (t: number): number => MARGIN + ((WIDTH - 2 * MARGIN) * t) / (inputs.length - 1);
  const y = (value: number): number => HEIGHT - MARGIN - ((HEIGHT - 2 * MARGIN) * (value - low)) / (high - low || 1);
  const line = (series: readonly number[], first: number, style: string): string =>
    `<polyline fill="none" ${style} points="${series.map((value, k) => `${x(first + k).toFixed(1)},${y(value).toFixed(1)}`).join(" ")}"/>`;
  return svg(WIDTH, HEIGHT, [
    line(inputs, 0, 'stroke="#4477aa" stroke-width="1.5"'),
    line(
      targets,
      everywhere ? 0 : inputs.length - targets.length,
      'stroke="#cc6677" stroke-width="2.5" stroke-dasharray="5 3"',
    ),
    text(MARGIN + 4, MARGIN + 10, "#4477aa", "input"),
    text(MARGIN + 50, MARGIN + 10, "#cc6677", "due"),
  ]);
}

/** A square image of brightnesses 0 .. 1, row by row, and its class. */
export function drawImage(pixels: readonly number[], count: number, label: number): string {
  const side = Math.round(Math.sqrt(count));
  const size = Math.max(2, Math.round(256 / side));
  const cells = pixels.flatMap((value, k) => {
    if (value <= 0) return [];
    const shade = Math.round(255 * Math.min(1, value));
    const place = `x="${(k % side) * size}" y="${Math.floor(k / side) * size}" width="${size}" height="${size}"`;
    return [`<rect ${place} fill="rgb(${shade},${shade},${shade})"/>`];
  });
  return svg(side * size, side * size + 20, [
    `<rect width="${side * size}" height="${side * size}" fill="#000"/>`,
    ...cells,
    text(2, side * size + 15, "#cc6677", `class ${label}`),
  ]);
}

const text = (x: number, y: number, color: string, content: string): string =>
  `<text x="${x}" y="${y}" fill="${color}" font-family="sans-serif" font-size="12">${content}</text>`;

const svg = (width: number, height: number, content: readonly string[]): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">\n${content.join("\n")}\n</svg>\n`;
