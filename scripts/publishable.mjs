// publint and "are the types wrong" over every package's tarball.
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { pack, publicPackages } from "./pack.mjs";

// The packages are ESM for Node 16+ resolution and bundlers; older resolvers and require() are not supported.
const ignored = new Set(["CJSResolvesToESM"]);
const supported = new Set(["node16-esm", "bundler"]);

const folder = mkdtempSync(join(tmpdir(), "seqmix-pack-"));
let problems = 0;
try {
  const packages = publicPackages();
  const tarballs = await pack(
    packages.map(({ name }) => name),
    folder,
  );
  for (const { name, manifest } of packages) {
    const data = readFileSync(tarballs.get(name));
    const tarball = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    const { messages } = await publint({ pack: { tarball }, strict: true });
    const types = await checkPackage(createPackageFromTarballData(new Uint8Array(tarball)));
    const found = [
      ...messages.map((message) => `publint: ${formatMessage(message, manifest, { color: false })}`),
      ...(types.types === false
        ? ["types: the tarball holds no types."]
        : types.problems
            .filter(
              (problem) =>
                !ignored.has(problem.kind) && (!("resolutionKind" in problem) || supported.has(problem.resolutionKind)),
            )
            .map((problem) => `types: ${problem.kind} ${JSON.stringify(problem)}`)),
    ];
    problems += found.length;
    console.log(`${found.length === 0 ? "ok  " : "FAIL"} ${name} (${(data.byteLength / 1024).toFixed(1)} KB)`);
    for (const line of found) console.log(`     ${line}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (problems > 0) process.exit(1);
