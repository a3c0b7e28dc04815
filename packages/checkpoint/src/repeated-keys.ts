/** Keys that an object of a JSON text has twice, which JSON.parse lets pass. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The position behind the text that begins with a quote at `start`. */
function endOfText(json: string, start: number): number {
  let k = start + 1;
  for (let code = json.charCodeAt(k); code !== QUOTE; code = json.charCodeAt(k)) k += code === BACKSLASH ? 2 : 1;
  return k + 1;
}

/** A text is a key if a colon follows. */
function isKey(json: string, end: number): boolean {
  let k = end;
  while (json.charCodeAt(k) <= 0x20) k++;
  return json[k] === ":";
}

/** @returns The first key that comes twice in one object of `json`, which is valid; undefined if none does. */
export function repeatedKey(json: string): string | undefined {
  // One set for each object that is open; undefined for arrays.
  const open: (Set<string> | undefined)[] = [];
  for (let k = 0; k < json.length; k++) {
    const symbol = json[k];
    if (symbol === "{") open.push(new Set());
    else if (symbol === "[") open.push(undefined);
    else if (symbol === "}" || symbol === "]") open.pop();
    if (symbol !== '"') continue;
    const end = endOfText(json, k);
    if (isKey(json, end)) {
      const key = JSON.parse(json.slice(k, end)) as string;
      const keys = open.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
    k = end - 1;
  }
  return undefined;
}
