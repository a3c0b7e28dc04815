import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  add,
  compile,
  cpu,
  full,
  keep,
  mul,
  outsideScopes,
  realize,
  scope,
  sum,
  tensor,
  type Tensor,
} from "../index.js";
import type * as tensorLibrary from "../index.js";

let device: ReturnType<typeof cpu>;
beforeEach(() => void (device = cpu({ threads: 1 })));
afterEach(() => device.close());

const turn = (): Promise<void> => new Promise((done) => setTimeout(done, 1));
const buffers = (): number => device.memory().buffers;
const make = async (v: number): Promise<Tensor> => realize(full([2], 2 * v), { device });

test("what is made in a scope is freed, over all its awaits, but for what it returns", async () => {
  const before = await make(1);
  const held = buffers();
  const { y, text } = await scope(async () => {
    const a = await make(2);
    await turn();
    const b = await make(3);
    expect(buffers()).toBeGreaterThan(held + 1);
    return { y: add(add(a, b), before), text: ["kept", 1] };
  });
  // The sum was not computed yet: it is, before what it reads is freed.
  expect(buffers()).toBe(held + 1);
  expect([...(await y.data())]).toEqual([12, 12]);
  expect(text).toEqual(["kept", 1]);
  expect([...(await before.data())]).toEqual([2, 2]);
});

test("host data of the scope goes, that of others stays", async () => {
  const outside = tensor([1, 2]);
  const total = await scope(async () => (await realize(sum(mul(outside, tensor([3, 4]))), { device })).item());
  expect(total).toBe(11);
  expect(buffers()).toBe(1);
  expect([...(await outside.data())]).toEqual([1, 2]);
});

test("a scope that fails frees too", async () => {
  await expect(
    scope(async () => {
      await make(1);
      throw new Error("stop");
    }),
  ).rejects.toThrow("stop");
  expect(buffers()).toBe(0);
});

test("scopes nest, and run beside each other and beside other code without mixing", async () => {
  const results: Tensor[] = [];
  const [kept] = await Promise.all([
    scope(async () => {
      const inner = await scope(async () => [await make(1), await make(2)][1]!);
      await turn();
      return mul(inner, 10);
    }),
    scope(async () => {
      for (let k = 0; k < 5; k++) {
        await make(k);
        await turn();
      }
    }),
    (async () => {
      for (let k = 0; k < 5; k++) {
        results.push(await make(k));
        await turn();
      }
    })(),
  ]);
  expect([...(await kept.data())]).toEqual([40, 40]);
  for (const [k, x] of results.entries()) expect([...(await x.data())]).toEqual([2 * k, 2 * k]);
  expect(buffers()).toBe(6);
});

test("results of compiled functions are the caller's, their constants are not", async () => {
  const double = compile((x: Tensor) => mul(x, tensor([2, 3])), { device });
  const x = tensor([1, 1]);
  const first = await scope(async () => (await double(x)).data());
  expect([...first]).toEqual([2, 3]);
  // The trace was made in the scope; it lives on.
  const held = buffers();
  await scope(async () => {
    for (let k = 0; k < 3; k++) await double(x);
  });
  expect(buffers()).toBe(held);
  expect([...(await (await double(x)).data())]).toEqual([2, 3]);
});

test("keep and outsideScopes take tensors out of a scope", async () => {
  const all = await scope(async () => {
    const kept = keep(await make(1));
    const cached = await outsideScopes(() => make(2));
    await make(3);
    return { read: () => Promise.all([kept.data(), cached.data()]) };
  });
  expect(buffers()).toBe(2);
  expect((await all.read()).map((values) => values[0])).toEqual([2, 4]);
});

/** Runs `f` with the library as a page has it, where nothing says on whose behalf code after an await runs. */
async function inPage(f: (page: typeof tensorLibrary, there: ReturnType<typeof cpu>) => Promise<void>) {
  vi.resetModules();
  vi.stubGlobal("process", { ...process, getBuiltinModule: undefined });
  const page = await import("../index.js");
  const there = page.cpu({ threads: 1 });
  try {
    await f(page, there);
  } finally {
    vi.unstubAllGlobals();
    await there.close();
  }
}

test("where code after an await is anybody's, a scope frees what it is told of", () =>
  inPage(async (page, there) => {
    const on = { device: there };
    let other: Tensor | undefined;
    const total = await page.scope(async (own) => {
      const a = page.mul(page.tensor([1, 2]), 2);
      await page.realize(a, on);
      const b = own(await page.realize(page.add(a, 1), on));
      other = await page.realize(page.add(a, 2), on);
      return own(page.sum(b)).item();
    });
    expect(total).toBe(8);
    // tensor([1, 2]) and a were made before the first await, b was handed over, `other` is anybody's.
    expect(there.memory().buffers).toBe(1);
    expect([...(await other!.data())]).toEqual([4, 6]);
  }));

test("there too, what an inner scope returns belongs to the outer one", () =>
  inPage(async (page, there) => {
    const make = (): Promise<Tensor> => page.realize(page.full([2], 3), { device: there });
    let first: Tensor | undefined;
    let second: Tensor | undefined;
    const total = await page.scope(async (own) => {
      first = await page.scope(async (mine) => mine(await make()));
      second = own(await page.scope(make));
      return own(page.sum(page.add(first, second))).item();
    });
    expect(total).toBe(12);
    expect([first, second].map((x) => x!.source.kind)).toEqual(["disposed", "disposed"]);
    const double = page.compile((x: Tensor) => page.mul(x, 2), { device: there });
    await page.scope(async () => (await double(page.tensor([1, 2]))).data());
    expect(there.memory().buffers).toBe(0);
  }));
