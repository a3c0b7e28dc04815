/** What a recurrence in chunks takes, in one piece that is loaded where a graph has one. */
export { chunkedForm } from "./form.js";
export { chunkedProgram } from "./program.js";
