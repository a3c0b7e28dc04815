import { explain, type Device, type Tree } from "@seqmix/tensor";

/** What `explain` says would run, in a few words: hand-written variants by name, or the one program, or how many. */
export async function variantOf(tree: Tree, device: Device): Promise<string> {
  const lines = (await explain(tree, { device }))
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  // Remarks at the end say why a record has no hand-written program here.
  const remarks = lines.filter((line) => line.startsWith("# ")).map((line) => `; ${line.slice(2)}`);
  const programs = lines.length - remarks.length;
  // A line is "op: program" or "op (variant): program".
  const named = [...new Set(lines.flatMap((line) => /^\w+(?: backward)? \((.+?)\): /.exec(line)?.[1] ?? []))];
  const text = named.length > 0 ? `${named.join(", ")}; ${programs} programs in all` : `${programs} programs`;
  return (programs === 1 ? (named[0] ?? lines[0]!) : text) + remarks.join("");
}
