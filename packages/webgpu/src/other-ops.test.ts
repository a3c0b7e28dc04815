import { checkTable } from "./testing/check-table.js";

await checkTable(false);
