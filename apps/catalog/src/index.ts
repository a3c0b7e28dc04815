/**
 * Every mixer, kernel record and task, listed once.
 *
 * @packageDocumentation
 */
export { kernels, mixers, tasks, type AnyKernel } from "./catalog.js";
export { taskList, taskPage, type TaskPage } from "./task-page.js";
