import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { UsageError } from "../commands/usage-error.js";
import { appendLine, writeFileAtomically } from "./atomic-file.js";
import { lockFolder } from "./lock.js";
import { openResults, readResults, type Row } from "./results.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "seqmix-results-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const row = (trial: string, more: Partial<Row> = {}): Row => ({
  trial,
  task: "selective-copying",
  mixer: "mamba",
  device: "cpu",
  deviceDescription: "2 threads",
  seed: 0,
  status: "done",
  metric: "accuracy",
  metrics: { accuracy: 0.5, chance: 0.07 },
  validation: { accuracy: 0.4 },
  parameters: 10,
  stateBytes: 40,
  tokensPerSecond: 1,
  wallSeconds: 1,
  curve: [],
  commit: "unknown",
  versions: {},
  machine: "",
  config: {},
  finished: "2026-01-01T00:00:00.000Z",
  ...more,
});
const file = (): string => join(folder, "results.jsonl");

test("rows read back as they were added", () => {
  const results = openResults(join(folder, "a", "b"));
  results.append(row("one"));
  results.append(row("two", { status: "diverged", metrics: { chance: 0.07 } }));
  expect(openResults(join(folder, "a", "b")).rows()).toEqual([
    row("one"),
    row("two", { status: "diverged", metrics: { chance: 0.07 } }),
  ]);
  expect(readResults(join(folder, "a", "b"))).toEqual({ rows: results.rows(), corrupt: 0 });
});

test("of several rows of a trial the last counts, and all stay in the file", () => {
  const results = openResults(folder);
  results.append(row("one", { status: "failed", error: "out of memory" }));
  results.append(row("two"));
  results.append(row("one"));
  expect(results.rows()).toEqual([row("one"), row("two")]);
  expect(readFileSync(file(), "utf8").trim().split("\n")).toHaveLength(3);
});

test("a torn last line is kept aside and reported, and the rest is used", () => {
  openResults(folder).append(row("one"));
  const torn = JSON.stringify(row("two")).slice(0, 80);
  appendFileSync(file(), torn);
  const results = openResults(folder);
  expect(results.damage).toContain("1 line was no result and moved to results.corrupt.jsonl; the other 1 are used");
  expect(results.rows()).toEqual([row("one")]);
  expect(readFileSync(join(folder, "results.corrupt.jsonl"), "utf8")).toBe(`${torn}\n`);
  // What is added next stands on a line of its own.
  results.append(row("three"));
  const after = openResults(folder);
  expect(after.damage).toBeUndefined();
  expect(after.rows()).toEqual([row("one"), row("three")]);
});

test("a whole last line without a line end is used", () => {
  writeFileSync(file(), JSON.stringify(row("one")));
  const results = openResults(folder);
  expect(results.damage).toBeUndefined();
  results.append(row("two"));
  expect(openResults(folder).rows()).toEqual([row("one"), row("two")]);
});

test("lines that are JSON but no results are kept aside, wherever they stand", () => {
  writeFileSync(file(), `null\n{"trial":"x"}\n${JSON.stringify(row("one"))}\n[1]\n\n"text"\n`);
  expect(readResults(folder)).toEqual({ rows: [row("one")], corrupt: 4 });
  expect(existsSync(join(folder, "results.corrupt.jsonl"))).toBe(false);
  expect(openResults(folder).damage).toContain("4 lines were");
  expect(readFileSync(join(folder, "results.corrupt.jsonl"), "utf8").trim().split("\n")).toHaveLength(4);
});

test("a folder that cannot be written is refused with the way out", () => {
  writeFileSync(join(folder, "file"), "");
  expect(() => openResults(join(folder, "file", "results"))).toThrow(
    /Cannot write results into .*choose another folder with --out/,
  );
});

test("reading a folder without results says so", () => {
  mkdirSync(join(folder, "empty"));
  expect(() => readResults(join(folder, "empty"))).toThrow("there is no such file");
});

test("a byte order mark in front of the file is no damage", () => {
  writeFileSync(file(), `\uFEFF${JSON.stringify(row("one"))}\r\n${JSON.stringify(row("two"))}\r\n`);
  expect(readResults(folder)).toEqual({ rows: [row("one"), row("two")], corrupt: 0 });
  expect(openResults(folder).damage).toBeUndefined();
});

test("a row that does not say where it comes from is a result all the same", () => {
  const { machine: _, commit: __, versions: ___, deviceDescription: ____, ...bare } = row("one");
  writeFileSync(file(), `${JSON.stringify(bare)}\n`);
  expect(readResults(folder).rows).toEqual([{ ...row("one"), machine: "unknown", deviceDescription: "unknown" }]);
});

test("a folder above one that does not exist", () => {
  const results = openResults(join(folder, "a") + "/../b");
  results.append(row("one"));
  expect(existsSync(join(folder, "b", "results.jsonl"))).toBe(true);
  expect(existsSync(join(folder, "a"))).toBe(false);
});

test("long identities have file names that file systems allow, each its own", () => {
  const results = openResults(folder);
  const long = (end: string): string => `selective-copying:mamba:${"setting=0.123456789;".repeat(30)}${end}`;
  const [one, two] = [results.pathOf(long("a"), "snapshot"), results.pathOf(long("b"), "snapshot")];
  expect(one).not.toBe(two);
  for (const path of [one, two]) writeFileAtomically(path, "x");
  expect(readFileSync(one, "utf8")).toBe("x");
  expect(results.pathOf("a:b:c=1", "snapshot")).toBe(join(folder, "a_b_c=1.snapshot"));
});

test.runIf(existsSync("/dev/full"))("a full disk leaves what was there, no partial file, and one sentence", () => {
  const path = join(folder, "data");
  writeFileAtomically(path, "before");
  symlinkSync("/dev/full", `${path}.${process.pid}.partial`);
  expect(() => writeFileAtomically(path, "after")).toThrow(/^Expected room for .*data, but the disk is full; free some/);
  expect(readFileSync(path, "utf8")).toBe("before");
  expect(readdirSync(folder)).toEqual(["data"]);
  symlinkSync("/dev/full", join(folder, "lines"));
  expect(() => appendLine(join(folder, "lines"), "x")).toThrow(UsageError);
});

test.runIf(existsSync("/dev/full"))("a folder on a full disk is not taken, with one sentence, and nothing is left", () => {
  symlinkSync("/dev/full", join(folder, `results.lock.${process.pid}.${process.pid}.partial`));
  expect(() => lockFolder(folder)).toThrow(/^Expected room for .*results\.lock.*, but the disk is full; free some/);
  expect(readdirSync(folder)).toEqual([]);
});
