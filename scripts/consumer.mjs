// What a person does first, with the tarballs as they would be published: npm installs the README's packages into an
// empty folder and runs its lines. Then every package by itself, where it sees what it declares and nothing else: imported in
// Node, type-checked in strict TypeScript without skipLibCheck, built into a page.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { pack, publicPackages } from "./pack.mjs";
import { pnpm, root } from "./pnpm.mjs";
import { run } from "./run.mjs";

/** TypeScript as the repository has it, the oldest that is supported, and the newest. */
const compilers = {
  "typescript-5.9": "typescript-5.9/bin/tsc",
  typescript: "typescript/bin/tsc",
  "typescript-7": "typescript-7/bin/tsc",
};

const example = `import assert from "node:assert/strict";
import { add, mul, tensor } from "@seqmix/tensor";
import { linearScan } from "@seqmix/scan";

const y = add(mul(tensor([1, 2, 3]), 2), 1);
assert.deepEqual(await y.data(), new Float32Array([3, 5, 7]));

const h = linearScan({ a: tensor([0.5, 0.5, 0.5]), b: tensor([1, 1, 1]), axis: 0 });
assert.deepEqual(await h.data(), new Float32Array([1, 1.5, 1.75]));
`;

/** In Node, without the optional peer, the device says what is missing. */
const withoutPeer = `import { webgpu } from "@seqmix/webgpu";
const error = await webgpu().catch((thrown) => thrown);
if (!/npm install webgpu/.test(error.message)) throw new Error("expected what to install, got " + error.message);
`;

const packages = publicPackages();
const folder = mkdtempSync(join(tmpdir(), "seqmix-consumer-"));
try {
  const tarballs = await timed("pack", () =>
    pack(
      packages.map(({ name }) => name),
      folder,
    ),
  );
  await timed("npm install and the README's lines", () => byNpm(tarballs));
  const consumers = packages.map((entry) => ({
    ...entry,
    at: join(folder, "alone", entry.manifest.name.split("/")[1]),
  }));
  await timed("install each alone", () => installAlone(consumers, tarballs));
  await timed(`import each in Node (${consumers.length} packages)`, () => inNode(consumers));
  for (const compiler of Object.keys(compilers)) await timed(`types with ${compiler}`, () => typesWith(compiler));
  await timed("build each into a page", () => intoPages(consumers));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function timed(name, work) {
  const started = performance.now();
  const result = await work();
  console.log(`consumer: ${name}: ok (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  return result;
}

async function step(name, [command, ...args], cwd) {
  const { code, output } = await run(command, args, { cwd });
  if (code !== 0) throw new Error(`consumer: ${name} failed (exit code ${code}):\n${output}`);
}

async function byNpm(tarballs) {
  const at = join(folder, "npm");
  mkdirSync(at);
  writeFileSync(join(at, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
  writeFileSync(join(at, "program.mjs"), example);
  // "npm" as npm itself names it, so that the test needs no shell.
  const npm = process.env.npm_execpath?.endsWith("npm-cli.js") ? [process.execPath, process.env.npm_execpath] : ["npm"];
  const names = ["@seqmix/tensor", "@seqmix/scan"].map((name) => tarballs.get(name));
  await step("npm install", [...npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", ...names], at);
  await step("node", [process.execPath, "program.mjs"], at);
}

/** One folder a package in one workspace: pnpm links into each only what the tarball declares. */
async function installAlone(consumers, tarballs) {
  const top = join(folder, "alone");
  mkdirSync(top);
  const overrides = [...tarballs].map(([name, path]) => `  "${name}": "file:${path}"`).join("\n");
  writeFileSync(
    join(top, "pnpm-workspace.yaml"),
    `packages: ["*"]\nignoreScripts: true\nautoInstallPeers: false\noverrides:\n${overrides}\n`,
  );
  writeFileSync(join(top, "package.json"), JSON.stringify({ name: "alone", private: true, type: "module" }));
  for (const { name, at, manifest } of consumers) {
    mkdirSync(at);
    const own = { name: `uses-${at.split(/[\\/]/).at(-1)}`, private: true, type: "module" };
    const dependencies = { [name]: `file:${tarballs.get(name)}` };
    writeFileSync(join(at, "package.json"), JSON.stringify({ ...own, dependencies }));
    const entries = Object.keys(manifest.exports).filter((entry) => entry !== "./package.json");
    const imports = entries.map((entry, k) => `import * as part${k} from "${join(name, entry)}";`);
    const parts = entries.map((_, k) => `part${k}`).join(", ");
    writeFileSync(
      join(at, "main.ts"),
      `${imports.join("\n")}\nfor (const part of [${parts}]) if (Object.keys(part).length === 0) throw new Error("empty");\n`,
    );
  }
  const { code, output } = await pnpm(["install", "--prefer-offline", "--no-frozen-lockfile"], { cwd: top });
  if (code !== 0) throw new Error(`consumer: pnpm install failed (exit code ${code}):\n${output}`);
}

/** A few processes at a time. */
async function inNode(consumers) {
  const left = [...consumers];
  const worker = async () => {
    for (let next = left.shift(); next; next = left.shift()) {
      const { name, at } = next;
      // The example's types are erased by hand: there are none.
      writeFileSync(join(at, "main.mjs"), readFileSync(join(at, "main.ts"), "utf8"));
      await step(`importing ${name}`, [process.execPath, "main.mjs"], at);
      if (name !== "@seqmix/webgpu") continue;
      writeFileSync(join(at, "peer.mjs"), withoutPeer);
      await step(`${name} without npm webgpu`, [process.execPath, "peer.mjs"], at);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

/** No libraries beside the language's and the page's, and no skipLibCheck: the published types stand on their own. */
async function typesWith(compiler) {
  const top = join(folder, "alone");
  const config = `tsconfig.${compiler}.json`;
  const compilerOptions = { target: "ES2022", module: "nodenext", strict: true, types: [], noEmit: true };
  writeFileSync(join(top, config), JSON.stringify({ compilerOptions, include: ["*/main.ts"] }));
  await step(compiler, [process.execPath, join(root, "node_modules", compilers[compiler]), "-p", config], top);
}

async function intoPages(consumers) {
  const { build } = await import("vite");
  const warnings = [];
  // The readers of fixtures are for Node; the rest of that package runs in pages.
  const note = ({ message }) => /golden-fixtures\.js/.test(message) || warnings.push(message);
  const input = Object.fromEntries(consumers.map(({ at }) => [at.split(/[\\/]/).at(-1), join(at, "main.ts")]));
  await build({
    root: join(folder, "alone"),
    configFile: false,
    logLevel: "silent",
    build: {
      outDir: join(folder, "pages"),
      modulePreload: false,
      rollupOptions: { input, onwarn: note },
    },
  });
  if (warnings.length > 0) throw new Error(`consumer: pages build with warnings:\n${warnings.join("\n")}`);
}
