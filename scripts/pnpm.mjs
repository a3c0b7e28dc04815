// Runs pnpm at the version this repository pins, on a machine that has only Node and npm.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "./run.mjs";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** Runs `pnpm ...args` in the repository and resolves to `{ code, output }`. */
export function pnpm(args, options = {}) {
  const npx = ["--yes", packageManager, ...args];
  // npm names its own entry file; going through it avoids npx.cmd, which Windows runs only in a shell.
  const npm = process.env.npm_execpath;
  const direct = npm?.endsWith("npm-cli.js");
  const [command, all] = direct
    ? [process.execPath, [npm, "exec", "--yes", packageManager, "--", ...args]]
    : ["npx", npx];
  return run(command, all, { cwd: root, shell: !direct && process.platform === "win32", ...options });
}
