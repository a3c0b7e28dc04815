// npm start: installs what the main job needs, builds it, and runs the quickstart ablation.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { install } from "./install.mjs";
import { root } from "./pnpm.mjs";
import { run } from "./run.mjs";

try {
  await install("main job");
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const { code, output } = await run(process.execPath, [tsc, "-b", "apps/benchmark"], { cwd: root });
  if (code !== 0) throw new Error(`The build of apps/benchmark failed:\n${output}`);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

// In this same process, so that Ctrl-C and the exit code are the app's own.
const cli = join(root, "apps", "benchmark", "dist", "cli.js");
process.argv = [process.argv[0], cli, "quickstart", ...process.argv.slice(2)];
process.chdir(root);
await import(pathToFileURL(cli).href);
