// Smoke test of what a person does first: install the tarballs into an empty folder, run ten lines, type-check them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pack, publicPackages } from "./pack.mjs";
import { root } from "./pnpm.mjs";
import { run } from "./run.mjs";

const wanted = ["@seqmix/tensor", "@seqmix/scan"];

const program = `import assert from "node:assert/strict";
import { add, mul, tensor } from "@seqmix/tensor";
import { linearScan } from "@seqmix/scan";

const y = add(mul(tensor([1, 2, 3]), 2), 1);
assert.deepEqual(await y.data(), new Float32Array([3, 5, 7]));

const h = linearScan({ a: tensor([0.5, 0.5, 0.5]), b: tensor([1, 1, 1]), axis: 0 });
assert.deepEqual(await h.data(), new Float32Array([1, 1.5, 1.75]));
console.log("consumer: ok");
`;

const folder = mkdtempSync(join(tmpdir(), "seqmix-consumer-"));
try {
  const names = withDependencies(wanted);
  const tarballs = await pack(names, folder);
  write("package.json", JSON.stringify({ name: "consumer", private: true, type: "module" }));
  write("program.ts", program);
  write(
    "tsconfig.json",
    JSON.stringify({
      // No skipLibCheck: the published types must stand on their own.
      compilerOptions: {
        target: "ES2023",
        lib: ["ES2023", "ESNext.Disposable", "DOM"],
        module: "nodenext",
        strict: true,
        types: ["node"],
        typeRoots: [join(root, "node_modules/@types")],
        outDir: "out",
        rootDir: ".",
      },
      files: ["program.ts"],
    }),
  );
  // "npm" as npm itself names it, so that the test needs no shell.
  const npm = process.env.npm_execpath?.endsWith("npm-cli.js") ? [process.execPath, process.env.npm_execpath] : ["npm"];
  await step("npm install", [
    ...npm,
    "install",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    ...names.map((name) => tarballs.get(name)),
  ]);
  await step("tsc", [process.execPath, join(root, "node_modules/typescript/bin/tsc"), "-p", "."]);
  await step("node", [process.execPath, "out/program.js"]);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function write(name, text) {
  writeFileSync(join(folder, name), text);
}

async function step(name, [command, ...args]) {
  const { code, output } = await run(command, args, { cwd: folder });
  if (code !== 0) throw new Error(`consumer: ${name} failed (exit code ${code}):\n${output}`);
  console.log(`consumer: ${name} passed`);
}

function withDependencies(names) {
  const manifests = new Map(publicPackages().map(({ name, manifest }) => [name, manifest]));
  const found = new Set();
  const visit = (name) => {
    if (found.has(name) || !manifests.has(name)) return;
    found.add(name);
    Object.keys(manifests.get(name).dependencies ?? {}).forEach(visit);
  };
  names.forEach(visit);
  return [...found];
}
