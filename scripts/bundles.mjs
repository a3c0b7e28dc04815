// What a page downloads: three pages are built with Vite, run in Node to see which chunks they load (WebGPU on the software
// adapter), and weighed by size-limit, gzipped. A limit is what the page weighs today and 1 % more; the goal stands beside it.
// The pages await nothing at their top level: where one does, Rolldown merges no chunks, and they weigh 6 to 10 % more.
import filePlugin from "@size-limit/file";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import sizeLimit from "size-limit";
import { build } from "vite";
import { root } from "./pnpm.mjs";
import { run } from "./run.mjs";

const model = `
import { mamba } from "@seqmix/mamba";
import { forwardLanguageModel, initLanguageModel } from "@seqmix/mixer";
import { crossEntropy } from "@seqmix/nn";
import { adamw, trainer } from "@seqmix/optim";
import { key, tensor } from "@seqmix/tensor";
const model = { mixer: mamba, mixerConfig: { dState: 4 }, dModel: 8, nLayers: 1, vocabSize: 8 };
const tokens = tensor(Int32Array.from({ length: 16 }, (_, k) => k % 8), [2, 8]);
const train = (device) => trainer({
  loss: (params, x) => crossEntropy(forwardLanguageModel(model, params, x)[0], x),
  optimizer: adamw({ learningRate: 1e-3 }), params: initLanguageModel(model, key(0)), clip: 1, ...device,
})(tokens);
`;

/** Kilobytes (1,000 bytes) gzipped. */
const pages = [
  {
    name: "add and mul on cpu",
    code: `import { add, mul, tensor } from "@seqmix/tensor";
globalThis.done = add(mul(tensor([1, 2, 3]), 2), 1).data().then(console.log);`,
    goal: 45,
    limit: 42.2,
  },
  {
    name: "Mamba language model, training on cpu",
    code: `${model}globalThis.done = train().then(console.log);`,
    goal: 65,
    limit: 110.4,
  },
  {
    name: "Mamba language model, training on webgpu",
    code: `import { webgpu } from "@seqmix/webgpu";${model}globalThis.done = webgpu().then((device) => train({ device })).then(console.log);`,
    goal: 75,
    limit: 119.8,
    gpu: true,
  },
];

/** Gives Node the `navigator.gpu` of a page. */
const NAVIGATOR = `
const { useSoftwareAdapter } = await import("@seqmix/software-gpu");
useSoftwareAdapter();
const { create, globals } = await import("webgpu");
Object.assign(globalThis, globals);
// once it is garbage collected the process crashes
const navigator = { gpu: (globalThis.kept = create([])) };
Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
`;

const folder = mkdtempSync(join(tmpdir(), "seqmix-bundles-"));
try {
  for (const [k, page] of pages.entries()) {
    const files = await filesOf(page, join(folder, String(k)));
    const [{ size }] = await sizeLimit([filePlugin], { checks: [{ files, gzip: true }] });
    const kilobytes = size / 1000;
    const over = kilobytes > page.limit;
    if (over) process.exitCode = 1;
    console.log(
      `${over ? "OVER" : "ok  "} ${page.name}: ${kilobytes.toFixed(1)} kB (limit ${page.limit}, goal ${page.goal})`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The built files that the page loads. */
async function filesOf({ code, gpu }, outDir) {
  const entry = join(root, "apps/benchmark/page.js");
  const { output } = await build({
    root: join(root, "apps/benchmark"),
    configFile: false,
    logLevel: "error",
    plugins: [
      {
        name: "page",
        enforce: "pre",
        resolveId: (id) => (id === entry ? entry : undefined),
        load: (id) => (id === entry ? code : undefined),
      },
    ],
    build: {
      outDir,
      target: "es2023",
      modulePreload: false,
      rollupOptions: { input: entry, output: { banner: "globalThis.loaded?.push(import.meta.url);" } },
    },
  });
  const chunks = output.filter(({ type }) => type === "chunk");
  const first = chunks.find(({ isEntry }) => isEntry);
  const start = pathToFileURL(join(outDir, first.fileName)).href;
  const program = `${gpu ? NAVIGATOR : ""}globalThis.loaded = []; await import("${start}"); await globalThis.done; console.log("\\n" + JSON.stringify(loaded)); process.exit()`;
  const { code: exit, output: printed } = await run(process.execPath, ["--input-type=module", "-e", program], {
    cwd: join(root, "packages/webgpu"),
  });
  if (exit !== 0) throw new Error(`bundles: the page failed:\n${printed}`);
  const loaded = JSON.parse(printed.trim().split("\n").at(-1));
  return chunks
    .map(({ fileName }) => join(outDir, fileName))
    .filter((path) => loaded.includes(pathToFileURL(path).href));
}
