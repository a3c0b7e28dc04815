/** Unpacking archives of the npm package `@sparticuz/chromium`: brotli, with a tar inside or a single file. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { brotliDecompressSync } from "node:zlib";

/** The folder with the archives' files; unpacked once a version, and moved into place in one step so that processes do not meet. */
export function unpacked(kind: string, archives: readonly string[]): string {
  const packageFolder = findPackage();
  const { version } = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8")) as { version: string };
  const folder = join(tmpdir(), `seqmix-${kind}-${version}-${process.arch}-${process.getuid?.() ?? 0}`);
  if (existsSync(folder)) return folder;
  const scratch = mkdtempSync(`${folder}-`);
  for (const archive of archives) {
    const content = brotliDecompressSync(readFileSync(join(packageFolder, "bin", archive)));
    if (!archive.endsWith(".tar.br"))
      writeFileSync(join(scratch, archive.replace(/\.br$/, "")), content, { mode: 0o755 });
    else
      for (const { name, data } of entriesOf(content)) {
        const target = join(scratch, normalize(name));
        if (!target.startsWith(scratch))
          throw new Error(`${archive}: expected files below its folder, got ${name}; install the package again`);
        mkdirSync(dirname(target), { recursive: true });
        writeFileSync(target, data, { mode: 0o755 });
      }
  }
  try {
    renameSync(scratch, folder);
  } catch (error) {
    rmSync(scratch, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

function findPackage(): string {
  try {
    // The package exports its entry only: build/esm/index.js or similar, below the folder that is looked for.
    let folder = dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium"));
    while (!existsSync(join(folder, "bin", "swiftshader.tar.br"))) {
      if (dirname(folder) === folder) throw new Error("bin/swiftshader.tar.br is missing");
      folder = dirname(folder);
    }
    return folder;
  } catch (error) {
    throw new Error(
      "software GPU: expected the development dependency @sparticuz/chromium, got none; install the workspace with its development dependencies",
      { cause: error },
    );
  }
}

/** Regular files of a tar archive. */
function* entriesOf(tar: Buffer): Generator<{ readonly name: string; readonly data: Buffer }> {
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0;) {
    const text = (from: number, length: number): string =>
      tar.toString("latin1", at + from, at + from + length).replace(/\0.*$/s, "");
    const size = Number.parseInt(text(124, 12), 8);
    const isFile = text(156, 1) === "0" || text(156, 1) === "";
    if (isFile) yield { name: text(0, 100), data: tar.subarray(at + 512, at + 512 + size) };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}
