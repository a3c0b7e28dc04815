// Installs what a script needs, once: a stamp holds the hash of the lockfile and the manifests.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pnpm, root } from "./pnpm.mjs";

const stampFile = join(root, "node_modules", ".seqmix-install.json");

/** What `npm start` installs: the main job's own dependencies, and TypeScript from the root's `dependencies` to build it. */
const mainJob = ["--prod", "--filter", "seqmix", "--filter-prod", "@seqmix/benchmark..."];

/** Installs for `npm start` ("main job") or for everything else ("everything"). Throws one sentence when it can't. */
export async function install(what) {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Error(`seqmix needs Node 20.19 or newer, but this is ${process.versions.node}; install a newer Node.`);
  }
  const hash = manifestHash();
  const stamp = readStamp();
  if (stamp?.hash === hash && (stamp.what === what || stamp.what === "everything")) return;

  // A folder that once held everything keeps its tools: a smaller install would remove them.
  const full =
    what === "everything" || stamp?.what === "everything" || (!stamp && existsSync(join(root, "node_modules")));
  const kind = full ? "everything" : "main job";
  console.log(`Installing ${full ? "all development tools" : "what the main job needs"} with pnpm ...`);
  const started = performance.now();
  const flags = ["install", "--frozen-lockfile", "--reporter=append-only", ...(full ? ["--prod=false"] : mainJob)];
  const { code, output } = await pnpm(flags, { env: { ...process.env, CI: "true" } });
  if (code !== 0) throw new Error(`pnpm could not install the dependencies (exit code ${code}):\n${output}`);
  writeFileSync(stampFile, JSON.stringify({ hash, what: kind }));
  console.log(`Installed in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
}

function readStamp() {
  try {
    return JSON.parse(readFileSync(stampFile, "utf8"));
  } catch {
    return undefined; // no stamp, or one cut short: install again
  }
}

function manifestHash() {
  const manifests = ["packages", "apps"].flatMap((folder) =>
    readdirSync(join(root, folder))
      .sort()
      .map((name) => join(folder, name, "package.json")),
  );
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}`);
  for (const file of ["pnpm-lock.yaml", "pnpm-workspace.yaml", "package.json", ...manifests]) {
    if (existsSync(join(root, file))) hash.update(file).update(readFileSync(join(root, file)));
  }
  return hash.digest("hex");
}
