#!/usr/bin/env node
/** The command line; it runs on import, so that `npm start` can be the same process. */
import { runCommandLine } from "./commands/command-line.js";

process.exitCode = await runCommandLine(process.argv.slice(2));
