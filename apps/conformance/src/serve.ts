/** The page as a vite build behind a server on 127.0.0.1, which browsers hold for secure, as WebGPU needs it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, defaultClientConditions, preview } from "vite";

/** A page that is being served. */
export interface Served {
  /** Address of the page. */
  readonly url: string;
  /** Stops the server and removes the build. */
  close(): Promise<void>;
}

/** Builds the page from source and serves it with the headers that shared memory, and so threads, need. */
export async function servePage(): Promise<Served> {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const outDir = await mkdtemp(join(tmpdir(), "seqmix-page-"));
  const common = { root, configFile: false, logLevel: "error" } as const;
  await build({
    ...common,
    resolve: { conditions: ["source", ...defaultClientConditions] },
    build: { outDir, emptyOutDir: true, target: "esnext" },
  });
  const headers = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  const server = await preview({ ...common, build: { outDir }, preview: { host: "127.0.0.1", port: 0, headers } });
  return {
    url: server.resolvedUrls!.local[0]!,
    async close() {
      await server.close();
      await rm(outDir, { recursive: true, force: true });
    },
  };
}
