// Makes a folder with which a machine that has only Node and Dawn (npm `webgpu`, beside it) runs `dist/cli.mjs kernels --device webgpu`,
// and every other command: the questions come along, each as one file.
//   node bundle.mjs DIR
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { build } from "vite";

const [target] = process.argv.slice(2);
if (target === undefined) {
  console.error("bundle: expected a folder to write to, got none; run `node bundle.mjs DIR`");
  process.exit(2);
}
const here = import.meta.dirname;
const sources = join(here, "src/");
const out = resolve(target);
const conditions = ["source", "module", "node", "production"];
const commit =
  execFileSync("git", ["rev-parse", "HEAD"], { cwd: here, encoding: "utf8" }).trim() +
  (execFileSync("git", ["status", "--porcelain", "--untracked-files=no"], { cwd: here, encoding: "utf8" }) === ""
    ? ""
    : "+changes");

await build({
  configFile: false,
  root: here,
  logLevel: "warn",
  define: { "process.env.SEQMIX_COMMIT": JSON.stringify(commit) },
  resolve: { conditions },
  ssr: { resolve: { conditions }, noExternal: true, external: ["webgpu", "typescript"] },
  plugins: [
    // The app names the GPU package in a variable so that it builds without it; here it is bundled.
    {
      name: "with-webgpu",
      transform: (code) =>
        code.includes("import(WEBGPU)") ? code.replace("import(WEBGPU)", 'import("@seqmix/webgpu")') : undefined,
    },
    // Files are found from where a module stood.
    {
      name: "places",
      transform: (code, id) =>
        id.startsWith(sources) && code.includes("import.meta.url")
          ? code.replaceAll("import.meta.url", `new URL(${JSON.stringify(relative(sources, id))}, import.meta.url)`)
          : undefined,
    },
  ],
  build: {
    ssr: "src/cli.ts",
    outDir: join(out, "dist"),
    emptyOutDir: true,
    minify: false,
    target: "node20",
    rollupOptions: { output: { entryFileNames: "cli.mjs", codeSplitting: false } },
  },
});

for (const question of readdirSync(join(here, "sweeps"))) {
  const file = join(here, "sweeps", question, "sweep.ts");
  if (!existsSync(file)) continue;
  await build({
    configFile: false,
    root: here,
    logLevel: "warn",
    resolve: { conditions, alias: { "@seqmix/benchmark": join(sources, "index.ts") } },
    ssr: { resolve: { conditions }, noExternal: true },
    build: {
      ssr: file,
      outDir: join(out, "sweeps", question),
      emptyOutDir: true,
      minify: false,
      target: "node20",
      rollupOptions: { output: { entryFileNames: "sweep.mjs", codeSplitting: false } },
    },
  });
}

// The versions that the report names.
const manifest = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
const write = (path, value) => {
  mkdirSync(dirname(join(out, path)), { recursive: true });
  writeFileSync(join(out, path), JSON.stringify(value));
};
write("package.json", manifest);
write("peers/package.json", JSON.parse(readFileSync(join(here, "peers/package.json"), "utf8")));
for (const name of Object.keys(manifest.dependencies).filter((each) => each.startsWith("@seqmix/"))) {
  const { version } = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
  write(`node_modules/${name}/package.json`, { name, version });
}
