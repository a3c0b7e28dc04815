// Every second mixer on the WebGPU device in Node; the others are in a file of their own, so that they run side by side.
import { checks } from "./suite.js";
import { onWebgpu } from "./testing/on-webgpu.js";

await onWebgpu(checks.filter(({ kind }) => kind === "mixer").filter((_, k) => k % 2 === 0));
