import { expect, test } from "vitest";
import { showProgress } from "./progress.js";

/** A stream that keeps what is written, and a clock that is set by hand. */
function shown(terminal: boolean) {
  const written: string[] = [];
  const clock = { seconds: 0 };
  const stream = { write: (text: string) => written.push(text), columns: 120, isTTY: terminal, rows: 40 };
  const progress = showProgress(stream as unknown as NodeJS.WriteStream, { terminal, now: () => clock.seconds * 1000 });
  return { written, clock, progress };
}
const report = (step: number) => ({ step, steps: 100, loss: 1.5, tokensPerSecond: 1000, phase: "training" }) as const;

test("without a terminal: a line every fifteen seconds, with the time left of the trial and of all", () => {
  const { written, clock, progress } = shown(false);
  progress.expect([100, 100, 200]);
  const job = progress.begin("mamba lr=0.1", 100);
  for (clock.seconds = 0; clock.seconds <= 50; clock.seconds++) job.report(report(10 + clock.seconds));
  expect(written).toHaveLength(3);
  expect(written[0]).toMatch(/^\[1\/3\] mamba lr=0\.1 .* 25 % {2}step 25\/100 .* 1,000 tokens\/s {2}1:15 left/);
  // 15 of 400 units in 15 seconds, 10 before: 375 are left.
  expect(written[0]).toContain("(0 of 3 finished, about 6:15 left)");
  job.end("97.0 %");
  expect(written.at(-1)).toBe("[1/3] mamba lr=0.1  97.0 %\n");
});

test("in a terminal the running trials stand at the foot, and what ended stays above", () => {
  const { written, clock, progress } = shown(true);
  progress.expect([1, 1]);
  const [one, two] = [progress.begin("one", 1), progress.begin("two", 1)];
  clock.seconds = 1;
  one.report(report(10));
  clock.seconds = 2;
  two.report(report(20));
  const drawn = written.join("");
  expect(drawn).toContain("[1/2] one");
  expect(drawn).toContain("[2/2] two");
  written.length = 0;
  one.end("diverged at step 3");
  expect(written.join("")).toContain("[1/2] one  diverged at step 3\n");
  expect(written.join("")).toContain("1 of 2 finished");
  progress.close();
});
