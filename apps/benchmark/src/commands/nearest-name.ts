/** Least number of single-character insertions, deletions and changes that turn a into b (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, k) => k);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1])));
    row = next;
  }
  return row[b.length]!;
}

/** "; did you mean NAME?" for the known name nearest to a misspelt one, or the list of names if none is near. */
export function didYouMean(name: string, known: readonly string[]): string {
  const distances = known
    .map((each) => [each, editDistance(name.toLowerCase(), each.toLowerCase())] as const)
    .sort((a, b) => a[1] - b[1]);
  const [nearest, distance] = distances[0] ?? ["", Infinity];
  if (distance <= Math.max(1, Math.ceil(name.length / 2)) && distance < nearest.length)
    return `; did you mean ${nearest}?`;
  return `; known are ${known.join(", ")}`;
}
