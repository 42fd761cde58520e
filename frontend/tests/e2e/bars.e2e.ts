// Where the bars of a backtest come from, other than the sample.

import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { choose, expectAccessible, openTab, register, type Tab } from "./browser";

let tab: Tab;

beforeAll(async () => {
  tab = await openTab(inject("gateway"));
  const { page } = tab;
  await register(page, `${crypto.randomUUID()}@example.com`);
  await page.getByRole("button", { name: "Use SMA cross" }).click();
  await page.getByText("Compiles.").waitFor();
});

afterAll(() => tab?.browser.close());

test("a range of a symbol's past, which the platform fetches", async () => {
  const { page } = tab;
  await page.getByRole("link", { name: "Backtests" }).click();
  await page.getByRole("button", { name: "New backtest" }).click();
  await choose(page, "Strategy", "SMA cross (version 1)");
  await page.getByText("A symbol and a range").click();
  await choose(page, "Provider", "coinbase");
  await page.getByRole("combobox", { name: "Symbol" }).fill("BTC-USD");
  await choose(page, "Length of a bar", "1h");
  await page.getByLabel("From (UTC)").fill("2024-03-01");
  await page.getByLabel("To, included").fill("2024-03-31");
  await expectAccessible(page);
  await page.getByRole("button", { name: "Run the backtest" }).click();
  await page.getByRole("tab", { name: /^Trades \([1-9]/ }).waitFor();
  await page.getByLabel("Settings of the run").getByText("bars of coinbase").waitFor();
  await page.getByRole("tab", { name: "Proof" }).click();
  await page.getByText(/^744 bars/).waitFor();
});

test("a file of one's own", async () => {
  const { page } = tab;
  await page.getByRole("link", { name: "Backtests" }).click();
  await page.getByRole("button", { name: "New backtest" }).click();
  await choose(page, "Strategy", "SMA cross (version 1)");
  await page.getByText("A CSV file").click();
  const rows = Array.from({ length: 400 }, (_, index) => {
    const price = (50 + 10 * Math.sin(index / 20)).toFixed(2);
    return `${1_700_000_000 + index * 3600},${price},${price},${price},${price},1`;
  });
  const text = `timestamp,open,high,low,close,volume\n${rows.join("\n")}\n`;
  await page
    .locator("input[type=file]")
    .setInputFiles({ name: "mine.csv", mimeType: "text/csv", buffer: Buffer.from(text) });
  await page.getByRole("button", { name: "Run the backtest" }).click();
  await page.getByRole("tab", { name: /^Trades \([1-9]/ }).waitFor();
  await page.getByLabel("Settings of the run").getByText("bars of a file").waitFor();
  await page.getByRole("tab", { name: "Proof" }).click();
  await page.getByText(/^400 bars/).waitFor();
  expect(tab.faults).toEqual([]);
});
