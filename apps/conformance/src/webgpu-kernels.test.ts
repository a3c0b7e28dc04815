// Kernel records on the WebGPU device in Node; the op table's rows run in packages/webgpu.
import { checks } from "./suite.js";
import { onWebgpu } from "./testing/on-webgpu.js";

await onWebgpu(checks.filter(({ kind }) => kind === "kernel"));
