/** The peers' packages: a folder of their own beside the app, installed when they are asked for. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { PeerPackages } from "../contestant.js";
import { messageOf, UsageError } from "../../commands/usage-error.js";

const folder = new URL("../../../peers/", import.meta.url);

interface Manifest {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

const manifestAt = (path: string): Manifest => JSON.parse(readFileSync(new URL(path, folder), "utf8")) as Manifest;

/** Packages and versions that the peers' lockfile pins. */
export const peerVersions = (): Readonly<Record<string, string>> => manifestAt("package.json").dependencies;

function installed(): boolean {
  try {
    return Object.entries(peerVersions()).every(
      ([name, version]) => manifestAt(`node_modules/${name}/package.json`).version === version,
    );
  } catch {
    return false;
  }
}

/** Installs the peers (about 350 MB), unless they are there. No install script runs. @throws UsageError if npm can't. */
export function installPeers(say: (line: string) => void): void {
  if (installed()) return;
  say("Installing the peers, about 350 MB ...");
  // npm names its own entry file; going through it avoids npm.cmd, which Windows runs only in a shell.
  const entry = process.env["npm_execpath"]?.endsWith("npm-cli.js") ? process.env["npm_execpath"] : undefined;
  const args = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status, stdout, stderr, error } = spawnSync(
    entry ? process.execPath : "npm",
    entry ? [entry, ...args] : args,
    { cwd: fileURLToPath(folder), encoding: "utf8", shell: !entry && process.platform === "win32" },
  );
  if (status !== 0)
    throw new UsageError(
      `The peers could not be installed; leave --peers out or see to what npm says: ${error ? messageOf(error) : `${stderr}${stdout}`.trim()}`,
    );
}

/** Loads the installed peers. */
export async function loadPeers(): Promise<PeerPackages> {
  const { resolve } = createRequire(new URL("package.json", folder));
  const load = async (name: string): Promise<Record<string, unknown>> =>
    (await import(pathToFileURL(resolve(name)).href)) as Record<string, unknown>;
  const [tensorflow, , jax, onnxRuntime, fft, pffft] = await Promise.all([
    load("@tensorflow/tfjs-core"),
    load("@tensorflow/tfjs-backend-wasm"),
    load("@jax-js/jax"),
    load("onnxruntime-node"),
    load("fft.js"),
    load("@echogarden/pffft-wasm/simd"),
  ]);
  const { setBackend, ready } = tensorflow as unknown as {
    setBackend(name: string): Promise<boolean>;
    ready(): Promise<void>;
  };
  await setBackend("wasm");
  await ready();
  const { init, defaultDevice } = jax as unknown as {
    init(name: string): Promise<unknown>;
    defaultDevice(name: string): unknown;
  };
  await init("wasm");
  defaultDevice("wasm");
  return {
    tensorflow: tensorflow as unknown as PeerPackages["tensorflow"],
    jax: jax as unknown as PeerPackages["jax"],
    onnxRuntime: ((onnxRuntime as { default?: unknown }).default ?? onnxRuntime) as PeerPackages["onnxRuntime"],
    fft: (fft as { default: PeerPackages["fft"] }).default,
    pffft: await (pffft as { default: () => Promise<PeerPackages["pffft"]> }).default(),
  };
}
