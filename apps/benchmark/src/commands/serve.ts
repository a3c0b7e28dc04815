import { InvalidArgumentError, type Command } from "commander";
import { once } from "node:events";
import { messageOf, UsageError } from "./usage-error.js";

interface Options {
  readonly port: number;
  readonly host: string;
  readonly build?: string;
}

/** What the page's build script offers. It is no part of this program's build, since it needs development tools. */
interface PageBuild {
  buildPage(folder: string): Promise<void>;
  servePage(address: { host: string; port: number }): Promise<{ readonly url: string; close(): Promise<void> }>;
}

/** Registers `serve`. */
export function registerServe(program: Command): void {
  program
    .command("serve")
    .description("serve the page in which mixers train live in a browser, on WebGPU or on the CPU")
    .option("--port <n>", "port, 0 for any that is free", parsePort, 4173)
    .option("--host <name>", "name or address to listen on", "127.0.0.1")
    .option("--build <folder>", "write the page there instead, for a static web server")
    .action(serve);
}

async function serve({ port, host, build }: Options): Promise<void> {
  const page = await pageBuild();
  console.log("Building the page ...");
  if (build !== undefined) {
    await page.buildPage(build);
    console.log(
      `Written to ${build}. Serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, so that the CPU device has threads.`,
    );
    return;
  }
  const served = await page.servePage({ host, port }).catch((error: unknown) => {
    throw new UsageError(`Could not serve on ${host}:${port} (${messageOf(error)}); choose another --port`);
  });
  console.log(`Serving ${served.url} (Ctrl-C ends it)`);
  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  await served.close();
}

async function pageBuild(): Promise<PageBuild> {
  try {
    return (await import(new URL("../../page/build.mjs", import.meta.url).href)) as PageBuild;
  } catch (error) {
    throw new UsageError(
      `The page needs the development tools, which did not load (${messageOf(error)}); install them with "npx pnpm install"`,
    );
  }
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new InvalidArgumentError("Expected a whole number from 0 to 65535.");
  return port;
}
