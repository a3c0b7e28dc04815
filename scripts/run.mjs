import { spawn } from "node:child_process";

/**
 * Runs a command to its end. Resolves to `{ code, output }`: never rejects, so that a caller can report every failure.
 * With `show`, the output goes to the terminal as it comes and `output` stays empty.
 */
export function run(command, args, { show = false, ...options } = {}) {
  return new Promise((done) => {
    const child = spawn(command, args, {
      ...options,
      stdio: ["ignore", show ? "inherit" : "pipe", show ? "inherit" : "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text) => (output += text));
    }
    child.on("error", (error) => done({ code: 127, output: `${output}${command}: ${error.message}\n` }));
    child.on("close", (code, signal) => done({ code: signal ? 1 : (code ?? 1), output }));
  });
}
