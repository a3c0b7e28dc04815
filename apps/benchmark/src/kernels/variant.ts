import { explain, type Device, type Tree } from "@seqmix/tensor";

/** What `explain` says would run, in a few words: hand-written variants by name, or the one program, or how many. */
export async function variantOf(tree: Tree, device: Device): Promise<string> {
  const lines = (await explain(tree, { device }))
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  // A line is "op: program" or "op (variant): program".
  const named = [...new Set(lines.flatMap((line) => /^\w+ \((.+)\): /.exec(line)?.[1] ?? []))];
  const programs = `${lines.length} programs`;
  if (lines.length === 1) return named[0] ?? lines[0]!;
  return named.length > 0 ? `${named.join(", ")}; ${programs} in all` : programs;
}
