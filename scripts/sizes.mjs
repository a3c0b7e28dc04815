// Source lines per package beside the size guides: crossing one is a reason to look for the simpler design.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "./pnpm.mjs";

const kernels = new Set(["hippo", "discretize", "fft", "lti", "scan", "selective-scan", "ssd"]);
const shared = new Set(["nn", "optim", "mixer", "checkpoint", "tasks", "testing", "software-gpu"]);

function guide(name) {
  if (name === "tensor") return 13000; // half of it the CPU device
  if (name === "webgpu") return 7000;
  if (kernels.has(name)) return 700;
  return shared.has(name) ? undefined : 300;
}

/** One line of text a package: source lines, test lines, guide. */
export function sizes() {
  const rows = [];
  for (const folder of ["packages", "apps"]) {
    for (const name of readdirSync(join(root, folder)).sort()) {
      const src = join(root, folder, name, "src");
      if (!existsSync(src)) continue;
      const files = readdirSync(src, { recursive: true }).filter((file) => file.endsWith(".ts"));
      const count = (list) =>
        list.reduce((sum, file) => sum + readFileSync(join(src, file), "utf8").split("\n").length - 1, 0);
      const lines = count(files.filter((file) => !file.endsWith(".test.ts")));
      const tests = count(files.filter((file) => file.endsWith(".test.ts")));
      const limit = folder === "packages" ? guide(name) : undefined;
      const note = limit === undefined ? "" : `guide ${limit}${lines > limit ? "  OVER" : ""}`;
      rows.push(
        `${`${folder}/${name}`.padEnd(28)}${String(lines).padStart(6)} lines${String(tests).padStart(7)} in tests   ${note}`.trimEnd(),
      );
    }
  }
  return rows.join("\n");
}

if (process.argv[1]?.endsWith(`scripts${sep}sizes.mjs`) && import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(sizes());
}
