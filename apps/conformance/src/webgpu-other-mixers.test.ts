// The other half of the mixers on the WebGPU device in Node.
import { checks } from "./suite.js";
import { onWebgpu } from "./testing/on-webgpu.js";

await onWebgpu(checks.filter(({ kind }) => kind === "mixer").filter((_, k) => k % 2 === 1));
