import { expect, test } from "vitest";
import { singleFlight } from "../src/api/flight";

test("who asks while it runs shares the answer, who asks later does not", async () => {
  let calls = 0;
  const ask = singleFlight(async () => ++calls);
  expect(await Promise.all([ask(), ask(), ask()])).toEqual([1, 1, 1]);
  expect(await ask()).toBe(2);
});

test("a failure is shared too, and does not stay", async () => {
  let calls = 0;
  const ask = singleFlight(async () => {
    if (++calls === 1) throw new Error("cut");
    return calls;
  });
  const both = await Promise.allSettled([ask(), ask()]);
  expect(both.map((one) => one.status)).toEqual(["rejected", "rejected"]);
  expect(await ask()).toBe(2);
});
