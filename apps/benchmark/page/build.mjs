// The page as a vite build: `buildPage(folder)` writes it, `servePage(address)` builds and serves it.
//   node page/build.mjs DIR     writes the page to DIR, for any static web server
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build, defaultClientConditions, preview } from "vite";

const root = import.meta.dirname;
const { version } = JSON.parse(readFileSync(join(root, "../package.json"), "utf8"));

/** Shared memory, and so threads, need these headers. */
const headers = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

function commit() {
  const git = (...args) =>
    execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  try {
    return (
      git("rev-parse", "HEAD").trim() + (git("status", "--porcelain", "--untracked-files=no") === "" ? "" : "+changes")
    );
  } catch {
    return "unknown";
  }
}

/** Where the page finds the files that tasks are made of: they are built in as files of their own. */
async function taskData() {
  const { tasks } = await import("@seqmix/catalog");
  const require = createRequire(import.meta.url);
  const files = tasks.flatMap(({ data = [] }) => data.map(({ package: name, file }) => `${name}/${file}`));
  const imports = [...new Set(files)].map(
    (name, k) => `import f${k} from ${JSON.stringify(`${require.resolve(name)}?url&no-inline`)};`,
  );
  const entries = [...new Set(files)].map((name, k) => `${JSON.stringify(name)}: f${k}`);
  return `${imports.join("\n")}\nexport const dataFiles = { ${entries.join(", ")} };`;
}

const plugin = {
  name: "seqmix-page",
  enforce: "pre",
  resolveId(id) {
    // The charts of the report draw into the page's own document.
    if (id === "linkedom") return join(root, "own-document.ts");
    // The data of tasks is fetched before it is asked for.
    if (id.endsWith("/trials/read-data.js")) return join(root, "training/fetched-data.ts");
    return undefined;
  },
  load: (id) => (id === join(root, "training/data-files.ts") ? taskData() : undefined),
};

const configOf = () => ({
  root,
  configFile: false,
  logLevel: "error",
  base: "./",
  define: { SEQMIX_COMMIT: JSON.stringify(commit()), SEQMIX_VERSION: JSON.stringify(version) },
  resolve: { conditions: ["source", ...defaultClientConditions] },
  plugins: [plugin],
  worker: { format: "es", plugins: () => [plugin] },
});

/** Writes the page to a folder, which any static server can serve. */
export async function buildPage(outDir) {
  await build({
    ...configOf(),
    build: { outDir: resolve(outDir), emptyOutDir: true, target: "es2023", chunkSizeWarningLimit: 4000 },
  });
}

/** Builds the page and serves it; `close` stops the server and removes the build. */
export async function servePage({ host = "127.0.0.1", port = 0 } = {}) {
  const outDir = await mkdtemp(join(tmpdir(), "seqmix-page-"));
  const remove = () => rm(outDir, { recursive: true, force: true });
  try {
    await buildPage(outDir);
    const server = await preview({
      ...configOf(),
      build: { outDir },
      preview: { host, port, strictPort: port !== 0, headers },
    });
    const [url] = [...server.resolvedUrls.local, ...server.resolvedUrls.network];
    return { url, close: () => server.close().finally(remove) };
  } catch (error) {
    await remove();
    throw error;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [target] = process.argv.slice(2);
  if (target === undefined) {
    console.error("build: expected a folder to write to, got none; run `node page/build.mjs DIR`");
    process.exit(2);
  }
  await buildPage(target);
}
