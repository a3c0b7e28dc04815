import { test } from "vitest";
import { useSoftwareAdapter } from "@seqmix/software-gpu";
import { webgpu } from "@seqmix/webgpu";
import { checks } from "../suite.js";
useSoftwareAdapter();
const device = await webgpu({ poison: true });
const names = [
  "scaledDotProductAttention",
  "gru, own size",
  "minGru, expanded",
  "rwkv4, published",
  "attention, both ways",
  "transformer, swiglu, rope",
  "attention, grouped, rope",
];
for (const name of names)
  test(
    name,
    async () => {
      const c = checks.find((x) => x.name === name)!;
      const t0 = performance.now();
      try {
        console.log("DONE", name, await c.run(device), ((performance.now() - t0) / 1000).toFixed(1), "s");
      } catch (e) {
        console.log("FAIL", name, String(e).slice(0, 400), ((performance.now() - t0) / 1000).toFixed(1));
      }
    },
    900000,
  );
